package runc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
)

// Purge deletes every machine and every trace of this engine on the host, then closes it.
func (e *Engine) Purge() error {
	infos, err := e.List(e.ctx)
	if err != nil {
		return err
	}
	for _, i := range infos {
		err = errors.Join(err, e.Delete(e.ctx, i.ID))
	}
	if err != nil {
		return err
	}
	if err := e.removeParents(); err != nil {
		return err
	}
	return errors.Join(e.leaveHost(), e.Close(), os.RemoveAll(e.cfg.RunDir), os.RemoveAll(e.cfg.Dir))
}

// leaveHost removes what the engines of this host share, if no machine of any of them is left.
func (e *Engine) leaveHost() error {
	unlock, err := e.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	claims, err := os.ReadDir(e.rangesDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another engine that left a moment ago has taken it all away
	}
	if err != nil || len(claims) > 0 {
		return err
	}
	if e.systemdDriver() {
		_ = exec.Command("systemctl", "stop", "--quiet", "lido.slice").Run()
	}
	return errors.Join(e.stopLXCFS(), os.RemoveAll(e.mountPoint("")), os.RemoveAll(e.rangesDir()))
}
