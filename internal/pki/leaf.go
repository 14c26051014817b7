package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	serverLifetime = 90 * 24 * time.Hour
	// MachineLifetime is how long a machine's certificate is valid: the longest that browsers accept.
	MachineLifetime = 397 * 24 * time.Hour
)

// Leaf is a certificate for a server and its private key, both in PEM form. CertPEM ends with the CA's certificate,
// so that a client can pin the CA by its fingerprint.
type Leaf struct {
	CertPEM []byte
	KeyPEM  []byte
}

// Issue makes a server certificate for names (DNS names, wildcards and IP addresses, at least one; the first is also
// the common name) that is valid for lifetime.
func (a *Authority) Issue(lifetime time.Duration, names ...string) (Leaf, error) {
	cert, err := a.issue(lifetime, names)
	if err != nil {
		return Leaf{}, fmt.Errorf("certificate for %q: %w", names, err)
	}
	keyPEM, err := encodeKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return Leaf{}, err
	}
	return Leaf{CertPEM: append(encodeCert(cert.Certificate[0]), a.CertPEM()...), KeyPEM: keyPEM}, nil
}

func (a *Authority) issue(lifetime time.Duration, names []string) (*tls.Certificate, error) {
	if len(names) == 0 {
		return nil, errors.New("no name given")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names[0], Organization: []string{"lido"}},
		NotBefore:             now.Add(-clockLeeway),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ServerTLS is a TLS configuration with a certificate for names. The certificate lives in memory and is made anew when
// a third of its life is left, without a restart.
func (a *Authority) ServerTLS(names ...string) *tls.Config {
	s := &serverCert{authority: a, names: names}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.get}
}

type serverCert struct {
	authority *Authority
	names     []string

	mu   sync.Mutex
	cert *tls.Certificate
}

func (s *serverCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	if s.cert != nil && s.cert.Leaf.NotAfter.Sub(now) > serverLifetime/3 {
		return s.cert, nil
	}
	cert, err := s.authority.issue(serverLifetime, s.names)
	if err != nil {
		return nil, err
	}
	s.cert = cert
	return cert, nil
}

// LocalNames are the names and addresses by which this host may be reached when it listens on listenHost: all of the
// host's own addresses when that is empty or unspecified, else that one, and always localhost's.
func LocalNames(listenHost, hostname string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if hostname != "" && hostname != "localhost" {
		names = append(names, hostname)
	}
	ip := net.ParseIP(listenHost)
	switch {
	case listenHost != "" && (ip == nil || !ip.IsUnspecified()):
		names = append(names, listenHost)
	default:
		addrs, _ := net.InterfaceAddrs() // without them the certificate still serves localhost
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
				names = append(names, n.IP.String())
			}
		}
	}
	return unique(names)
}

func unique(in []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
