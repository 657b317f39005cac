// Package leno is the root of the Leno service mesh; it holds no code. Start
// with README.md, then ARCHITECTURE.md; the tests beside this file hold the
// rules of the tree.
package leno
