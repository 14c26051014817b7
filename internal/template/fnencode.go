package template

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// encodings enters the functions that encode, decode and hash.
func (t table) encodings() {
	t.pure("base64", "s", func(a []Value) (Value, error) {
		return StringValue(base64.StdEncoding.EncodeToString([]byte(a[0].s))), nil
	})
	t.pure("base64ToString", "s", func(a []Value) (Value, error) {
		text, err := decodeBase64(a[0].s)
		return StringValue(text), err
	})
	t.pure("base64ToJson", "s", func(a []Value) (Value, error) {
		text, err := decodeBase64(a[0].s)
		if err != nil {
			return Value{}, err
		}
		return parseJSON(text)
	})
	t.pure("dataUri", "x", func(a []Value) (Value, error) {
		media, text := "text/plain", a[0].s
		if a[0].kind != String {
			media, text = "application/json", string(a[0].AppendJSON(nil))
		}
		return StringValue("data:" + media + ";charset=utf8;base64," + base64.StdEncoding.EncodeToString([]byte(text))), nil
	})
	t.pure("dataUriToString", "s", fnDataURIToString)
	t.pure("uri", "s s", fnURI)
	t.pure("parseUri", "s", fnParseURI)
	t.pure("buildUri", "o", fnBuildURI)
	t.pure("uriComponent", "s", func(a []Value) (Value, error) { return StringValue(escapeComponent(a[0].s)), nil })
	t.pure("uriComponentToString", "s", func(a []Value) (Value, error) {
		if s, err := url.PathUnescape(a[0].s); err == nil {
			return StringValue(s), nil
		}
		return a[0], nil
	})
	t.pure("json", "s0", func(a []Value) (Value, error) { return parseJSON(a[0].s) })
	t.pure("uniqueString", "sn sn ...", fnUniqueString)
	t["uniquestring"].min = 1
	t.pure("guid", "sn sn ...", fnGUID)
	t["guid"].min = 1
}

func parseJSON(text string) (Value, error) {
	n, err := Read([]byte(text))
	if err != nil {
		return Value{}, faultf("the value is not valid JSON: %s", err.(*Error).Message)
	}
	return n.Value(), nil
}

func decodeBase64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return "", faultf("the value is not valid base64")
	}
	return string(b), nil
}

func fnDataURIToString(a []Value) (Value, error) {
	head, body, ok := strings.Cut(a[0].s, ",")
	if !ok || !strings.HasPrefix(strings.ToLower(head), "data:") {
		return Value{}, faultf("the value is not a data URI")
	}
	if strings.HasSuffix(strings.ToLower(head), ";base64") {
		text, err := decodeBase64(body)
		return StringValue(text), err
	}
	text, err := url.PathUnescape(body)
	if err != nil {
		return Value{}, faultf("the data URI is not escaped as it should be")
	}
	return StringValue(text), nil
}

// fnURI resolves a relative address against a base.
func fnURI(a []Value) (Value, error) {
	base, err := url.Parse(a[0].s)
	if err != nil || base.Scheme == "" {
		return Value{}, faultf("the base '%s' is not an absolute URI", a[0].s)
	}
	rel, err := url.Parse(a[1].s)
	if err != nil {
		return Value{}, faultf("'%s' is not a relative URI", a[1].s)
	}
	out := base.ResolveReference(rel)
	out.Host = strings.ToLower(out.Host)
	if port, usual := out.Port(), map[string]string{"http": "80", "https": "443"}[out.Scheme]; port != "" && port == usual {
		out.Host = strings.TrimSuffix(out.Host, ":"+port)
	}
	return StringValue(out.String()), nil
}

// fnParseURI takes an address apart; port is null when the address names none.
func fnParseURI(a []Value) (Value, error) {
	u, err := url.Parse(a[0].s)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return Value{}, faultf("'%s' is not an absolute URI", a[0].s)
	}
	var port Value
	if n, err := strconv.Atoi(u.Port()); err == nil {
		port = IntValue(int64(n))
	}
	query := ""
	if u.RawQuery != "" {
		query = "?" + u.RawQuery
	}
	return ObjectOf("scheme", StringValue(u.Scheme), "host", StringValue(u.Hostname()), "port", port,
		"path", StringValue(u.EscapedPath()), "query", StringValue(query)), nil
}

// fnBuildURI puts an address together from what fnParseURI makes.
func fnBuildURI(a []Value) (Value, error) {
	part := func(name string) string { return a[0].At(name).Str() }
	if part("scheme") == "" || part("host") == "" {
		return Value{}, faultf("the object needs the members 'scheme' and 'host'")
	}
	host, path, query := part("host"), part("path"), strings.TrimPrefix(part("query"), "?")
	if port := a[0].At("port"); port.kind == Int && port.n >= 0 {
		host += ":" + port.text()
	}
	out := part("scheme") + "://" + host + "/" + strings.TrimPrefix(path, "/")
	if query != "" {
		out += "?" + query
	}
	return StringValue(out), nil
}

// escapeComponent escapes all but the characters that RFC 3986 leaves unreserved.
func escapeComponent(s string) string {
	const upper = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upper[c>>4])
		b.WriteByte(upper[c&15])
	}
	return b.String()
}

// joined are the arguments with hyphens between them, which is what uniqueString and guid hash.
func joined(a []Value) string {
	parts := make([]string, len(a))
	for i, v := range a {
		parts[i] = v.text()
	}
	return strings.Join(parts, "-")
}

// guidNamespace is the name space of the guid function's version 5 UUIDs, which Microsoft documents.
var guidNamespace = uuid.MustParse("11fb06fb-712d-4ddd-98c7-e71bbd588830")

func fnGUID(a []Value) (Value, error) {
	return StringValue(uuid.NewSHA1(guidNamespace, []byte(joined(a))).String()), nil
}

func fnUniqueString(a []Value) (Value, error) { return StringValue(uniqueString(joined(a))), nil }
