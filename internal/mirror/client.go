package mirror

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// client chooses how a request goes out. What a template names is refused on this host itself (refuseLocal), for its
// author may not be allowed what this host is; what the operator's config names is not, and neither is his proxy.
func (f *Fetcher) client(src Source, req *http.Request) *http.Client {
	if proxy, err := http.ProxyFromEnvironment(req); src.Prefix != "" || err == nil && proxy != nil {
		return f.mirrors
	}
	return f.direct
}

func newClient(control func(network, address string, c syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Timeout: 15 * time.Second, Control: control}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: 15 * time.Second,
			ResponseHeaderTimeout: time.Minute, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case len(via) > 5:
				return errors.New("more than 5 redirects")
			case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
				return errors.New("a redirect leads from https to " + req.URL.Scheme)
			}
			return nil
		},
	}
}

// refuseLocal refuses connections to this host itself and to link-local addresses (metadata services).
func refuseLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if a := ap.Addr().Unmap(); a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		return fmt.Errorf("%s is an address of this host itself, which templates may not name", a)
	}
	return nil
}
