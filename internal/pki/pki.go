// Package pki is lido's certificate authority: it makes the CA on first start, the server's certificate and keeps it
// fresh, certificates for machines, and SSH host keys that belong to a pool address instead of to a machine.
//
// Nothing here needs a store: the CA is two files in a 0700 directory, and everything else is made from it on demand.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	caCertFile  = "ca.pem"
	caKeyFile   = "ca.key"
	caLifetime  = 20 * 365 * 24 * time.Hour
	clockLeeway = time.Hour // certificates start this much earlier, for clients whose clock is behind
)

// Authority is lido's CA. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	dir  string
	now  func() time.Time
}

// Open reads the CA in dir, or makes one there (directory 0700, key 0600) when there is none. now is asked for the
// time whenever a certificate is made.
func Open(dir string, now func() time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a := &Authority{dir: dir, now: now}
	err := a.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	return a, nil
}

func (a *Authority) load() error {
	certPEM, err := os.ReadFile(a.CertFile())
	if err != nil {
		return err
	}
	keyPEM, err := os.ReadFile(filepath.Join(a.dir, caKeyFile))
	if err != nil {
		return err
	}
	if a.cert, err = parseCert(certPEM); err != nil {
		return err
	}
	a.key, err = parseKey(keyPEM)
	return err
}

// create writes the key before the certificate: a crash between the two leaves a CA that is made anew, never a
// certificate without its key.
func (a *Authority) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := a.now()
	serial, err := newSerial()
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "lido CA " + hex.EncodeToString(serial.Bytes()[:4]), Organization: []string{"lido"}},
		NotBefore:             now.Add(-clockLeeway),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(a.dir, caKeyFile), keyPEM, 0o600); err != nil {
		return err
	}
	if err := writeFile(a.CertFile(), encodeCert(der), 0o644); err != nil {
		return err
	}
	a.key = key
	a.cert, err = x509.ParseCertificate(der)
	return err
}

// CertFile is the path of the CA's certificate in PEM form.
func (a *Authority) CertFile() string { return filepath.Join(a.dir, caCertFile) }

// CertPEM is the CA's certificate, to be trusted by clients.
func (a *Authority) CertPEM() []byte { return encodeCert(a.cert.Raw) }

// Fingerprint names the CA's certificate: SHA-256 as 64 lower-case hex digits.
func (a *Authority) Fingerprint() string { return Fingerprint(a.cert) }

// Pool is a pool that holds only this CA.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Fingerprint is a certificate's SHA-256 as 64 lower-case hex digits.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// NormalFingerprint brings a fingerprint typed by a person (upper case, colons, a "sha256:" prefix) into the form that
// Fingerprint gives. It is an error when it is not 64 hex digits.
func NormalFingerprint(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	s = strings.TrimPrefix(s, "sha256:")
	s = strings.ReplaceAll(s, ":", "")
	if raw, err := hex.DecodeString(s); err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("fingerprint %q is not a SHA-256 in hex (64 digits); `lido up` prints it at start", s)
	}
	return s, nil
}

func newSerial() (*big.Int, error) {
	// 127 random bits with the top one set: positive, never zero, and of constant length.
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM form")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in PEM form")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of type %T cannot sign", key)
	}
	return signer, nil
}

// writeFile replaces a file in one step, so a reader or a crash never sees half of it.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(data); err == nil {
		if err = tmp.Chmod(mode); err == nil {
			err = tmp.Sync()
		}
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
