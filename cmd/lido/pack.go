package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// mostPacked is how much may be sent within a job: a command line's argument holds 128 KiB.
const mostPacked = 90 << 10

// unpackLine is a command line that makes files and directories of this computer anew in a job's directory. They travel
// in it, so they are small: scripts, not data. The preparation, root, makes them, and gives them to the job's user, whose
// the directory is.
func unpackLine(paths []string) (string, error) {
	var buf bytes.Buffer
	text := base64.NewEncoder(base64.StdEncoding, &buf)
	z := gzip.NewWriter(text)
	t := tar.NewWriter(z)
	for _, p := range paths {
		if err := pack(t, filepath.Clean(p)); err != nil {
			return "", fmt.Errorf("--file %s: %w", p, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close(), text.Close()); err != nil {
		return "", err
	}
	if buf.Len() > mostPacked {
		return "", fmt.Errorf("the files take %d KiB packed, and a job carries at most %d: put them into the workspace's share instead, jobs see it in %s", buf.Len()>>10, mostPacked>>10, jobShareDir)
	}
	return `cd "$AZ_BATCHAI_JOB_WORK_DIR" && echo ` + buf.String() + ` | base64 -d | tar xz && chown -hR "$(stat -c %u:%g .)" .`, nil
}

// pack adds a file, or a directory with what is in it, under its own last name.
func pack(t *tar.Writer, root string) error {
	parent := filepath.Dir(root)
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(p)
		if err != nil || (!info.Mode().IsRegular() && !info.IsDir()) {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(parent, p); err != nil {
			return err
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		if err := t.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(t, f)
		return err
	})
}
