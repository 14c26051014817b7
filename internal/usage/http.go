package usage

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Path is where Handler is served on the control socket.
const Path = "/v1/usage"

// Handler answers GET with sums. The query may have by, from, to (RFC 3339), cluster and person.
func (l *Ledger) Handler(now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, by, err := parseQuery(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sums, err := l.Sums(r.Context(), q, by, now())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(sums)
	})
}

func parseQuery(v url.Values) (q Query, by By, err error) {
	if by, err = ParseBy(v.Get("by")); err != nil {
		return q, by, err
	}
	q.Cluster, q.Person = v.Get("cluster"), v.Get("person")
	for name, t := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if s := v.Get(name); s != "" {
			if *t, err = time.Parse(time.RFC3339, s); err != nil {
				return q, by, err
			}
		}
	}
	return q, by, nil
}
