package main

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ownKey is the public key that nodes let the caller in with: the person's own, or one that is made for lido.
func ownKey() (string, error) {
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"} {
			if key, err := readKey(filepath.Join(home, ".ssh", name)); err == nil {
				return key, nil
			}
		}
	}
	path, err := ownKeyPath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return "", fmt.Errorf("make a key for ssh to nodes: %w", err)
		}
	}
	return readKey(path + ".pub")
}

func readKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey(b); err != nil {
		return "", fmt.Errorf("public key %s: %w", path, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// ownKeyPath is where the key made for lido is.
func ownKeyPath() (string, error) {
	state, _, err := azHome()
	return filepath.Join(state, "lido", "ssh", "id_ed25519"), err
}

func makeKey(path string) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "lido")
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	if err := makeOwnDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.WriteFile(path+".pub", ssh.MarshalAuthorizedKey(key), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	_, owner, err := azHome()
	if err != nil {
		return err
	}
	return owner.Give(filepath.Dir(path))
}

// makeOwnDir makes a directory of the caller's, who may have called sudo.
func makeOwnDir(dir string) error {
	_, owner, err := azHome()
	if err != nil {
		return err
	}
	return owner.MkdirAll(dir)
}
