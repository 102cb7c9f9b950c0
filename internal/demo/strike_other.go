//go:build !linux

package demo

import (
	"context"
	"syscall"
)

// childAttr keeps Ctrl-C on the terminal to the demo, which then stops the child itself.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// striker kills engines. Only on Linux can it tell what they are doing.
type striker struct{}

func newStriker(_, _ string) *striker { return &striker{} }

func (*striker) strike(ctx context.Context, p *process, _ moment) (hit bool, err error) {
	if p.dead() {
		return false, &engineError{p.complaint()}
	}
	p.kill()
	return false, ctx.Err()
}

func (*striker) close() {}
