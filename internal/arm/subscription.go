package arm

import (
	"net/http"
	"strings"
)

// checkSubscription refuses ids of another subscription than this server's.
func (s *Server) checkSubscription(r *Request) error {
	sub := r.ID.Subscription()
	if s.Subscription == "" || sub == "" || strings.EqualFold(sub, s.Subscription) {
		return nil
	}
	return Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found. This lido has the subscription '%s'; sign in again to select it.", sub, s.Subscription)
}
