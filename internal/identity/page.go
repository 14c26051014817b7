package identity

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// page is what page.html shows: a form to sign in with, a message, or a form that carries a code on to a client.
type page struct {
	Title, Text, Problem string
	AskCode              bool
	UserCode, UserName   string
	AskPassword          bool
	Hidden               map[string]string // carried through the form
	Action               string            // where the form goes; empty: to this page
	Origin               string            // of Action
	Nonce                string            // set: the form is sent on by itself
}

func showPage(w http.ResponseWriter, status int, p page) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	policy := "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'"
	if p.Nonce != "" {
		policy += " " + p.Origin + "; script-src 'nonce-" + p.Nonce + "'"
	}
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	pageTemplate.Execute(w, p)
}

// signInPage checks the name and password of a form; when they are wrong it shows the form again and returns false.
func (s *Service) signInPage(w http.ResponseWriter, r *http.Request, p page) (record, bool) {
	p.AskPassword = true
	p.UserName = r.PostForm.Get("username")
	if r.Method != http.MethodPost {
		showPage(w, http.StatusOK, p)
		return record{}, false
	}
	rec, err := s.signIn(r.Context(), p.UserName, r.PostForm.Get("password"), source(r), User)
	var refused oauthError
	var wait tooMany
	switch {
	case err == nil:
		return rec, true
	case errors.As(err, &refused):
		p.Problem = "The user name is not known or the password is wrong."
	case errors.As(err, &wait):
		p.Problem = wait.Error()
	case errors.Is(err, context.Canceled):
		return record{}, false
	default:
		s.log.Error("sign-in failed", "error", err)
		p.Problem = "The server failed; its log says why."
	}
	showPage(w, http.StatusForbidden, p)
	return record{}, false
}

func (s *Service) serveDevicePage(w http.ResponseWriter, r *http.Request) {
	code := r.FormValue("user_code")
	p := page{Title: "Sign in a device", Text: "Enter the code that your command line shows, and your account. Do this only for a command that you started yourself.", AskCode: true, UserCode: code}
	rec, ok := s.signInPage(w, r, p)
	if !ok {
		return
	}
	if _, known := s.flows.pending(code); !known || !s.flows.approve(code, rec.ID) {
		p.AskPassword, p.UserName = true, rec.Name
		p.Problem = "The code is not known, has expired or was used. Look at your command line again."
		showPage(w, http.StatusForbidden, p)
		return
	}
	s.log.Info("device signed in", "account", rec.Name, "source", source(r))
	showPage(w, http.StatusOK, page{Title: "Signed in", Text: "You are signed in as " + rec.Name + " on your command line. You may close this page."})
}

// serveAuthorize is the browser's side of the authorization code flow. It serves programs on the person's own
// computer only: the code goes to a loopback address, bound to the program by PKCE.
func (s *Service) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	redirect, err := url.Parse(r.FormValue("redirect_uri"))
	if err != nil || redirect.Scheme != "http" || (redirect.Hostname() != "localhost" && redirect.Hostname() != "127.0.0.1") {
		showPage(w, http.StatusBadRequest, page{Title: "Cannot sign in", Text: "The client asks to be answered at an address other than this computer's own (localhost). That is refused."})
		return
	}
	if r.FormValue("code_challenge_method") != "S256" || r.FormValue("response_type") != "code" {
		showPage(w, http.StatusBadRequest, page{Title: "Cannot sign in", Text: "The client must ask for a code, with a PKCE challenge (S256)."})
		return
	}
	hidden := map[string]string{}
	for _, k := range []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method"} {
		hidden[k] = r.FormValue(k)
	}
	rec, ok := s.signInPage(w, r, page{Title: "Sign in", Text: "A program on this computer asks to use lido in your name.", UserName: r.FormValue("login_hint"), Hidden: hidden})
	if !ok {
		return
	}
	code := rand.Text() + rand.Text()
	fl := &flow{client: hidden["client_id"], scope: hidden["scope"], expires: s.now().Add(codeLife), account: rec.ID, nonce: hidden["nonce"], challenge: hidden["code_challenge"], redirect: hidden["redirect_uri"]}
	if err := s.flows.add(s.flows.code, code, fl); err != nil {
		s.answerGrantError(w, err)
		return
	}
	s.log.Info("signed in by browser", "account", rec.Name, "source", source(r))
	sendCode(w, r, redirect, hidden["response_mode"], map[string]string{"code": code, "state": hidden["state"]})
}

func sendCode(w http.ResponseWriter, r *http.Request, redirect *url.URL, mode string, values map[string]string) {
	if mode == "form_post" {
		showPage(w, http.StatusOK, page{Title: "Signing in", Text: "Press the button if nothing happens.", Hidden: values, Action: redirect.String(), Origin: "http://" + redirect.Host, Nonce: rand.Text()})
		return
	}
	q := redirect.Query()
	for k, v := range values {
		q.Set(k, v)
	}
	redirect.RawQuery = q.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}
