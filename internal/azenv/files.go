package azenv

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// files are the contents of the directory, in the order of writing.
func (s *session) files(o Options) ([]file, error) {
	bundle, err := s.bundle(o.SystemCAs)
	if err != nil {
		return nil, err
	}
	return []file{
		{caFile, s.server.CA},
		{bundleFile, bundle},
		{"config", []byte(ini("cloud", map[string]string{"name": s.cloud.Name}) + settings)},
		{"clouds.config", []byte(ini(s.cloud.Name, s.cloudConfig()))},
		{"versionCheck.json", mustJSON(map[string]any{"check_time": "2099-01-01 00:00:00.000000"})},
		s.credentials(o.Now),
		{"azureProfile.json", mustJSON(map[string]any{"subscriptions": s.profile()})},
	}, nil
}

const (
	caFile     = "lido-ca.pem"
	bundleFile = "ca-bundle.pem"
)

// settings turn off what would call somewhere else or ask a person.
const settings = `[core]
collect_telemetry = no
survey_message = no
error_recommendation = off
first_run = no
login_experience_v2 = off
instance_discovery = no

[auto-upgrade]
enable = no

[extension]
use_dynamic_install = no
`

// bundle is the system's certificates with the server's CA: az takes one file in place of its own.
func (s *session) bundle(systemCAs string) ([]byte, error) {
	var system []byte
	if systemCAs != "" {
		var err error
		if system, err = os.ReadFile(systemCAs); err != nil {
			return nil, fmt.Errorf("the system's certificates: %w", err)
		}
	}
	return bytes.Join([][]byte{bytes.TrimSpace(system), bytes.TrimSpace(s.server.CA), nil}, []byte("\n")), nil
}

// cloudConfig is the cloud as az registers it.
func (s *session) cloudConfig() map[string]string {
	c := s.cloud
	return map[string]string{
		"endpoint_active_directory":                       c.Authentication.LoginEndpoint,
		"endpoint_active_directory_resource_id":           c.Authentication.Audiences[0],
		"endpoint_active_directory_graph_resource_id":     c.GraphAudience,
		"endpoint_active_directory_data_lake_resource_id": c.ActiveDirectoryDataLake,
		"endpoint_microsoft_graph_resource_id":            c.MicrosoftGraphResourceID,
		"endpoint_management":                             c.Authentication.Audiences[0],
		"endpoint_resource_manager":                       c.ResourceManager,
		"endpoint_batch_resource_id":                      c.Batch,
		"endpoint_gallery":                                c.Gallery,
		"endpoint_media_resource_id":                      c.Media,
		"endpoint_portal":                                 c.Portal,
		"endpoint_sql_management":                         c.SQLManagement,
		"endpoint_vm_image_alias_doc":                     c.VMImageAliasDoc,
		"suffix_storage_endpoint":                         c.Suffixes["storage"],
		"suffix_keyvault_dns":                             "." + c.Suffixes["keyVaultDns"],
		"subscription":                                    s.subscriptions[0].ID,
	}
}

func ini(section string, values map[string]string) string {
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", section)
	for _, k := range keys {
		// az reads % as a reference to another value.
		fmt.Fprintf(&b, "%s = %s\n", k, strings.ReplaceAll(values[k], "%", "%%"))
	}
	return b.String() + "\n"
}

func (s *session) profile() []map[string]any {
	user := map[string]string{"name": s.userName(), "type": "user"}
	if s.login.App {
		user["type"] = "servicePrincipal"
	}
	var out []map[string]any
	for i, sub := range s.subscriptions {
		out = append(out, map[string]any{
			"id": sub.ID, "name": sub.Name, "state": sub.State, "user": user, "isDefault": i == 0, "tenantId": sub.Tenant,
			"environmentName": s.cloud.Name, "homeTenantId": sub.Tenant, "managedByTenants": []any{},
		})
	}
	return out
}

func (s *session) userName() string {
	if s.login.App {
		return s.login.User
	}
	return s.account.UPN
}

// credentials are what az signs in with again: a service principal's secret, or a person's tokens in MSAL's cache.
func (s *session) credentials(now time.Time) file {
	if s.login.App {
		return file{"service_principal_entries.json", mustJSON([]map[string]string{
			{"client_id": s.login.User, "tenant": s.subscriptions[0].Tenant, "client_secret": s.login.Password}})}
	}
	u, _ := url.Parse(s.cloud.Authentication.LoginEndpoint) // the server's own; a bad one gives a cache that is not found
	host, home := u.Hostname(), s.account.Subject
	entry := func(kind, secret string, more map[string]string) map[string]string {
		e := map[string]string{"credential_type": kind, "secret": secret, "home_account_id": home, "environment": host, "client_id": azClientID}
		for k, v := range more {
			e[k] = v
		}
		return e
	}
	at := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	expires := at(now.Add(time.Duration(s.token.ExpiresIn) * time.Second))
	key := func(parts ...string) string { return strings.ToLower(strings.Join(parts, "-")) }
	one := func(key string, v map[string]string) map[string]any { return map[string]any{key: v} }
	return file{"msal_token_cache.json", mustJSON(map[string]any{
		"AccessToken": one(key(home, host, "accesstoken", azClientID, "adfs", s.token.Scope), entry("AccessToken", s.token.Access, map[string]string{
			"target": s.token.Scope, "realm": "adfs", "token_type": "Bearer", "cached_at": at(now), "expires_on": expires, "extended_expires_on": expires})),
		"RefreshToken": one(key(home, host, "refreshtoken", azClientID, "", s.token.Scope), entry("RefreshToken", s.token.Refresh, map[string]string{
			"target": s.token.Scope, "last_modification_time": at(now)})),
		"IdToken": one(key(home, host, "idtoken", azClientID, "adfs", ""), entry("IdToken", s.token.ID, map[string]string{"realm": "adfs"})),
		"Account": one(key(home, host, "adfs"), map[string]string{
			"home_account_id": home, "environment": host, "realm": "adfs", "local_account_id": home, "username": s.account.UPN, "authority_type": "ADFS"}),
		"AppMetadata": one(key("appmetadata", host, azClientID), map[string]string{"client_id": azClientID, "environment": host}),
	})}
}

// bundlePath and caPath are where files of the directory are.
func bundlePath(dir string) string { return filepath.Join(dir, bundleFile) }
func caPath(dir string) string     { return filepath.Join(dir, caFile) }
