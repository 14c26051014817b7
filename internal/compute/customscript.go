package compute

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"lido.dev/lido/internal/arm"
)

// customScript is the settings of Azure's CustomScript extension, public and protected ones joined.
type customScript struct {
	FileURIs       []string `json:"fileUris"`
	Command        string   `json:"commandToExecute"`
	Script         string   `json:"script"`
	SkipDos2Unix   arm.Bool `json:"skipDos2Unix"`
	Timestamp      any      `json:"timestamp"`
	StorageAccount string   `json:"storageAccountName"`
	ManagedID      any      `json:"managedIdentity"`
}

// isCustomScript tells whether an extension is one that lido runs.
func isCustomScript(p *extensionProperties) bool {
	is := func(publisher, typ string) bool {
		return strings.EqualFold(p.Publisher, publisher) && strings.EqualFold(p.Type, typ)
	}
	return is("Microsoft.Azure.Extensions", "CustomScript") || is("Microsoft.OSTCExtensions", "CustomScriptForLinux")
}

// readCustomScript joins an extension's settings. Its errors are meant for the extension's status.
func readCustomScript(p *extensionProperties) (customScript, error) {
	var public, protected customScript
	if err := arm.Convert(p.Settings, &public); err != nil {
		return public, fmt.Errorf("invalid settings: %w", err)
	}
	if err := arm.Convert(p.ProtectedSettings, &protected); err != nil {
		return public, fmt.Errorf("invalid protectedSettings: %w", err)
	}
	s := customScript{SkipDos2Unix: public.SkipDos2Unix || protected.SkipDos2Unix}
	var err1, err2, err3 error
	s.Command, err1 = oneOf("commandToExecute", public.Command, protected.Command)
	s.Script, err2 = oneOf("script", public.Script, protected.Script)
	s.FileURIs = append(public.FileURIs, protected.FileURIs...)
	if len(public.FileURIs) > 0 && len(protected.FileURIs) > 0 {
		err3 = errors.New("'fileUris' was specified both in public and protected settings; it must be specified only once")
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return s, err
	}
	switch {
	case s.Command == "" && s.Script == "":
		return s, errors.New("neither 'commandToExecute' nor 'script' is specified; give one of them")
	case s.Command != "" && s.Script != "":
		return s, errors.New("'commandToExecute' and 'script' are both specified; give one of them")
	}
	return s, nil
}

func oneOf(name, public, protected string) (string, error) {
	if public != "" && protected != "" {
		return "", fmt.Errorf("'%s' was specified both in public and protected settings; it must be specified only once", name)
	}
	return public + protected, nil
}

// maxScript bounds an unpacked script, as Azure does.
const maxScript = 1 << 20

// command returns what the machine's shell is to run.
func (s *customScript) command() (string, error) {
	if s.Script == "" {
		return s.Command, nil
	}
	b, err := base64.StdEncoding.DecodeString(s.Script)
	if err != nil {
		return "", fmt.Errorf("'script' is not base64: %w", err)
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		zr, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return "", fmt.Errorf("'script' is not gzip: %w", err)
		}
		if b, err = io.ReadAll(io.LimitReader(zr, maxScript+1)); err != nil {
			return "", fmt.Errorf("'script' cannot be unpacked: %w", err)
		}
	}
	if len(b) > maxScript {
		return "", fmt.Errorf("'script' has more than %d bytes", maxScript)
	}
	return scriptCommand(unixLines(b)), nil
}

// scriptCommand wraps a script with an interpreter line for a shell that reads commands from a file: it is written
// next to the command, off the disk, and run from there.
func scriptCommand(script []byte) string {
	encoded := base64.StdEncoding.EncodeToString(script)
	return `f=${0%/*}/script.sh
printf %s '` + encoded + `' | base64 -d >"$f" && chmod 0700 "$f" || exit 126
case $(head -c 2 "$f") in
"#!") exec $(head -n 1 "$f" | cut -c 3-) "$f" ;; # /run may be mounted noexec
*) exec /bin/sh "$f" ;;
esac
`
}

// fileName returns the name under which a downloaded file is kept: the last part of the URL's path.
func fileName(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("fileUris: %q is not a URL", uri)
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" || name == ".." || strings.HasPrefix(name, ".new") {
		return "", fmt.Errorf("fileUris: %q names no file", u.Redacted())
	}
	return name, nil
}

// unixLines takes the carriage returns and the byte order mark out of a script, as Azure's extension does.
func unixLines(b []byte) []byte {
	return bytes.ReplaceAll(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), []byte("\r\n"), []byte("\n"))
}

// isScript tells whether a downloaded file is a script to whose lines unixLines applies.
func isScript(name string, b []byte) bool {
	ext := path.Ext(name)
	return ext == ".sh" || ext == ".txt" || bytes.HasPrefix(b, []byte("#!"))
}
