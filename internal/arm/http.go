package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxBody is more than ARM's own limit for a deployment (4 MB).
const maxBody = 16 << 20

// ServeHTTP serves ARM calls. Paths are taken as sent: nothing is cleaned or redirected, for clients send double and
// trailing slashes and don't expect a 301.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	start, id := time.Now(), uuid.NewString()
	h := w.Header()
	h.Set("x-ms-request-id", id)
	h.Set("Cache-Control", "no-cache")
	correlation := hr.Header.Get("x-ms-correlation-request-id")
	if correlation == "" {
		correlation = id
	}
	h.Set("x-ms-correlation-request-id", correlation)
	if c := hr.Header.Get("x-ms-client-request-id"); c != "" {
		h.Set("x-ms-client-request-id", c)
	}
	resp, err := s.serveSafely(hr, h, correlation)
	status := 0
	if err != nil {
		status = s.writeError(w, hr, id, err)
	} else {
		status = s.write(w, hr, resp)
	}
	s.Log.Info("request", "method", hr.Method, "path", hr.URL.Path, "version", hr.URL.Query().Get("api-version"),
		"status", status, "ms", time.Since(start).Milliseconds(), "id", id)
}

// serveSafely turns a panic into an internal error: one bad request must not look like a broken connection, which
// clients retry.
func (s *Server) serveSafely(hr *http.Request, h http.Header, correlation string) (resp *Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return s.serve(hr, h, correlation)
}

func (s *Server) serve(hr *http.Request, h http.Header, correlation string) (*Response, error) {
	caller, err := s.Access.Authenticate(hr)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(hr.Body, maxBody+1))
	if err != nil {
		return nil, BadRequest("InvalidRequestContent", "", "The request's body could not be read: %v.", err)
	}
	if len(body) > maxBody {
		return nil, Errorf(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request's body is larger than %d bytes.", maxBody)
	}
	query := hr.URL.Query()
	r := &Request{
		Method: hr.Method, ID: ParsePath(hr.URL.Path), Query: query, APIVersion: queryFold(query, "api-version"),
		IfMatch: hr.Header.Get("If-Match"), IfNoneMatch: hr.Header.Get("If-None-Match"), Prefer: hr.Header.Get("Prefer"),
		Caller: caller, Body: body, BaseURL: "https://" + hr.Host, CorrelationID: correlation,
	}
	resp, err := s.Do(hr.Context(), r)
	if t := s.Lookup(r.ID.Type()); t != nil {
		h.Set("x-lido-api-version", t.behaviour(r.APIVersion))
	}
	if err != nil {
		return nil, err
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	if resp.Operation != nil {
		resp.Operation.headers(resp, r)
	}
	return resp, nil
}

func queryFold(q map[string][]string, name string) string {
	for k, v := range q {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// behaviour names the version whose behaviour an api-version gets: the newest served one that is not newer, or the oldest.
func (t *Type) behaviour(version string) string {
	best := version
	for _, v := range t.APIVersions { // newest first
		best = v
		if v <= version {
			break
		}
	}
	return best
}

func (s *Server) write(w http.ResponseWriter, hr *http.Request, resp *Response) int {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	status := resp.Status
	if status == 0 {
		status = http.StatusOK
	}
	writeJSON(w, hr, status, resp.Body)
	return status
}

func writeJSON(w http.ResponseWriter, hr *http.Request, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	b, err := json.Marshal(body)
	if err != nil {
		slog.Error("encode response", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if hr.Method != http.MethodHead {
		w.Write(b)
	}
}

func (s *Server) writeError(w http.ResponseWriter, hr *http.Request, id string, err error) int {
	e := AsError(err)
	if known := new(Error); !errors.As(err, &known) {
		s.Log.Error("request failed", "id", id, "method", hr.Method, "path", hr.URL.Path, "err", err)
	}
	if e.Status == 0 {
		e.Status = http.StatusBadRequest
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("x-ms-failure-cause", "gateway")
	writeJSON(w, hr, e.Status, map[string]any{"error": e})
	return e.Status
}
