package identity

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// authorityPath is where the login authority lives. Clients treat an authority as AD FS only by this word.
const authorityPath = "/adfs"

// Cloud says how clients find lido's services, beside the server's own address.
type Cloud struct {
	Name          string // the cloud's name in clients
	StorageSuffix string // begins with "core.": hosts are ACCOUNT.file.SUFFIX
	VaultSuffix   string // hosts are VAULT.SUFFIX
}

var hostHeader = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// baseURL is the server's URL under the name that the client used, so that one server serves under all its names.
func baseURL(r *http.Request) (string, error) {
	if !hostHeader.MatchString(r.Host) {
		return "", errors.New("the Host header is not a host name or address")
	}
	return "https://" + strings.ToLower(r.Host), nil
}

type authentication struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant,omitempty"`
	IdentityProvider string   `json:"identityProvider,omitempty"`
}

// firstMetadata is the answer to api-versions before 2018: the shape of Azure Stack.
type firstMetadata struct {
	GalleryEndpoint string         `json:"galleryEndpoint"`
	GraphEndpoint   string         `json:"graphEndpoint"`
	PortalEndpoint  string         `json:"portalEndpoint"`
	Authentication  authentication `json:"authentication"`
}

// CloudMetadata is one cloud in the answer to later api-versions: an array of them up to 2022, then the one itself.
type CloudMetadata struct {
	Name                     string            `json:"name"`
	Portal                   string            `json:"portal"`
	Authentication           authentication    `json:"authentication"`
	Media                    string            `json:"media"`
	GraphAudience            string            `json:"graphAudience"`
	Graph                    string            `json:"graph"`
	Suffixes                 map[string]string `json:"suffixes"`
	Batch                    string            `json:"batch"`
	ResourceManager          string            `json:"resourceManager"`
	VMImageAliasDoc          string            `json:"vmImageAliasDoc"`
	ActiveDirectoryDataLake  string            `json:"activeDirectoryDataLake"`
	SQLManagement            string            `json:"sqlManagement"`
	MicrosoftGraphResourceID string            `json:"microsoftGraphResourceId"`
	Gallery                  string            `json:"gallery"`
}

// Metadata describes the cloud to clients that reach it at base ("https://HOST:PORT").
func (c Cloud) Metadata(base string) CloudMetadata {
	return CloudMetadata{
		Name: c.Name, Portal: base, Media: base, GraphAudience: base, Graph: base, Batch: base, ResourceManager: base,
		ActiveDirectoryDataLake: base, SQLManagement: base, MicrosoftGraphResourceID: base, Gallery: base,
		VMImageAliasDoc: base + "/metadata/image-aliases.json",
		Authentication:  authentication{LoginEndpoint: base + authorityPath, Audiences: []string{base}, Tenant: "adfs", IdentityProvider: "ADFS"},
		Suffixes:        map[string]string{"storage": c.StorageSuffix, "keyVaultDns": c.VaultSuffix},
	}
}

func (s *Service) serveMetadata(w http.ResponseWriter, r *http.Request) {
	base, err := baseURL(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m := s.cloud.Metadata(base)
	switch version := r.URL.Query().Get("api-version"); {
	case version < "2018":
		answer(w, http.StatusOK, firstMetadata{GalleryEndpoint: base, GraphEndpoint: base, PortalEndpoint: base, Authentication: authentication{LoginEndpoint: m.Authentication.LoginEndpoint, Audiences: m.Authentication.Audiences}})
	case version < "2022-09-01":
		answer(w, http.StatusOK, []CloudMetadata{m})
	default:
		answer(w, http.StatusOK, m)
	}
}
