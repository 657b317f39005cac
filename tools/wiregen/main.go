// Command wiregen writes the generated part of xds/wire: the structs and field
// tables of the messages that xds/wire/fields.txt lists.
//
//	go run ./tools/wiregen [-dir xds/wire]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("dir", "", "the directory of fields.txt and of the generated files")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "wiregen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	if dir == "" {
		var err error
		if dir, err = findDir(); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "fields.txt"))
	if err != nil {
		return err
	}
	files, err := generate(text)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*_gen.go"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if _, kept := files[filepath.Base(name)]; !kept {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	for name, content := range files {
		name = filepath.Join(dir, name)
		if before, err := os.ReadFile(name); err == nil && bytes.Equal(before, content) {
			continue
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// findDir serves both go run from the module's root and go generate.
func findDir() (string, error) {
	for _, dir := range []string{".", "xds/wire"} {
		if _, err := os.Stat(filepath.Join(dir, "fields.txt")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no fields.txt here or in xds/wire")
}

// generate returns the generated files by name.
func generate(list []byte) (map[string][]byte, error) {
	entries, err := parse(string(list))
	if err != nil {
		return nil, err
	}
	api, err := resolve(entries)
	if err != nil {
		return nil, err
	}
	return emit(api)
}
