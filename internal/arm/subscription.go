package arm

import (
	"net/http"
	"strings"
)

// CheckSubscription refuses an id in another subscription than this server's.
func (s *Server) CheckSubscription(id ID) error {
	sub := id.Subscription()
	if s.Subscription == "" || sub == "" || strings.EqualFold(sub, s.Subscription) {
		return nil
	}
	return Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found. This lido has the subscription '%s'; sign in again to select it.", sub, s.Subscription)
}
