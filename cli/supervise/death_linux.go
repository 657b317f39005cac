package supervise

import "syscall"

// dieWithParent has the kernel kill the child when its parent thread ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
