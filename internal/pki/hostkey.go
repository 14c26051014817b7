package pki

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// HostKey is an SSH host key.
type HostKey struct {
	PrivatePEM  []byte // OpenSSH's private key format, for /etc/ssh/ssh_host_ed25519_key
	Public      string // "ssh-ed25519 AAAA...", for known_hosts and /etc/ssh/ssh_host_ed25519_key.pub
	Fingerprint string // "SHA256:...", as ssh shows it
}

// NewHostKey derives the ed25519 host key of a pool address from a seed of at least 16 bytes. The same seed and
// address give the same bytes, always and on each machine: a client that knows the pool is never alarmed, whichever
// machine answers and however often they are replaced.
func NewHostKey(seed []byte, address string) (HostKey, error) {
	if len(seed) < 16 {
		return HostKey{}, fmt.Errorf("host key of %s: the seed has %d bytes, at least 16 are needed", address, len(seed))
	}
	if address == "" {
		return HostKey{}, errors.New("host key: no address given")
	}
	raw, err := hkdf.Key(sha256.New, seed, nil, "lido ssh host key ed25519 "+address, ed25519.SeedSize+4)
	if err != nil {
		return HostKey{}, err
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return HostKey{}, err
	}
	return HostKey{
		PrivatePEM:  marshalOpenSSH(key, pub, binary.BigEndian.Uint32(raw[ed25519.SeedSize:]), address),
		Public:      strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " " + address,
		Fingerprint: ssh.FingerprintSHA256(pub),
	}, nil
}

// marshalOpenSSH writes an unencrypted openssh-key-v1 file. ssh.MarshalPrivateKey would do, but draws a random check
// number, and the file must have the same bytes each time.
func marshalOpenSSH(key ed25519.PrivateKey, pub ssh.PublicKey, check uint32, comment string) []byte {
	private := ssh.Marshal(struct {
		Check1, Check2 uint32
		Type           string
		Pub, Priv      []byte
		Comment        string
	}{check, check, ssh.KeyAlgoED25519, key.Public().(ed25519.PublicKey), key, comment})
	for i := byte(1); len(private)%8 != 0; i++ {
		private = append(private, i)
	}
	body := ssh.Marshal(struct {
		Cipher, KDF, KDFOptions string
		Keys                    uint32
		Pub, Private            []byte
	}{"none", "none", "", 1, pub.Marshal(), private})
	return pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: append([]byte("openssh-key-v1\x00"), body...)})
}
