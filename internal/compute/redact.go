package compute

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"lido.dev/lido/internal/secret"
)

// secretsIn returns the strings of a revealed document that stand where the sealed one has placeholders.
func secretsIn(sealed, clear any) []string {
	var out []string
	switch s := sealed.(type) {
	case string:
		if strings.HasPrefix(s, secret.Prefix) {
			return leaves(clear)
		}
	case map[string]any:
		if c, ok := clear.(map[string]any); ok {
			for k := range s {
				out = append(out, secretsIn(s[k], c[k])...)
			}
		}
	case []any:
		if c, ok := clear.([]any); ok {
			for i := range min(len(s), len(c)) {
				out = append(out, secretsIn(s[i], c[i])...)
			}
		}
	}
	return out
}

func leaves(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		return []string{v}
	case map[string]any:
		for _, c := range v {
			out = append(out, leaves(c)...)
		}
	case []any:
		for _, c := range v {
			out = append(out, leaves(c)...)
		}
	}
	return out
}

const redacted = "[secret]"

var wordEnd = regexp.MustCompile(`[\s"'=,;&|<>()]+`)

// redact takes secrets out of a text: whole ones, and those words of a secret command line that look like keys or
// passwords.
func redact(text string, secrets []string) string {
	var words []string
	for _, s := range secrets {
		if len(s) >= 4 {
			words = append(words, s)
		}
		for _, w := range wordEnd.Split(s, -1) {
			if looksSecret(w) {
				words = append(words, w)
			}
		}
		// A key ends in "=", at which words were cut.
		for _, w := range strings.Fields(s) {
			if w = strings.Trim(w, `"'`); looksSecret(w) {
				words = append(words, w)
			}
		}
	}
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	for _, w := range words {
		text = strings.ReplaceAll(text, w, redacted)
	}
	return text
}

// looksSecret guesses whether a word of a command line is a key or a password rather than a name or a path.
func looksSecret(w string) bool {
	if len(w) >= 40 && !strings.ContainsAny(w, ":") {
		return true
	}
	var upper, lower, digit, other int
	for _, r := range w {
		switch {
		case unicode.IsUpper(r):
			upper = 1
		case unicode.IsLower(r):
			lower = 1
		case unicode.IsDigit(r):
			digit = 1
		case !strings.ContainsRune("/._-:@", r):
			other = 1
		}
	}
	return len(w) >= 8 && upper+lower+digit+other >= 3
}

// tail returns the end of a text, at most n bytes, beginning at a line if there is one.
func tail(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if i := strings.IndexByte(s, '\n'); i >= 0 && i < len(s)/2 {
		return s[i+1:]
	}
	return strings.ToValidUTF8(s, "")
}
