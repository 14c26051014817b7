package compute

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

// Paths of properties in error messages.
const (
	pathProfile    = "properties.virtualMachineProfile"
	pathOS         = pathProfile + ".osProfile"
	pathCustomData = pathOS + ".customData"
	pathInterfaces = pathProfile + ".networkProfile.networkInterfaceConfigurations"
	pathImage      = pathProfile + ".storageProfile.imageReference"
	pathExtensions = pathProfile + ".extensionProfile.extensions"
)

// Error codes, Azure's where Azure has one.
const (
	codeInvalid       = "InvalidParameter"
	codeAllocation    = "AllocationFailed"
	codeExtension     = "VMExtensionProvisioningError"
	codeMachineFailed = "VMStartTimedOut"
	codeInternal      = "InternalExecutionError"
)

// The upgrade modes.
const (
	upgradeManual    = "Manual"
	upgradeAutomatic = "Automatic"
	upgradeRolling   = "Rolling"
)

const maxCapacity = 1000

// hiddenPaths are never shown, not even as placeholders.
var hiddenPaths = []string{
	pathOS + ".adminPassword", pathCustomData, pathProfile + ".userData",
	pathExtensions + "[*].properties.protectedSettings",
}

func (r *Room) setDocument() arm.Document {
	return arm.Document{
		Name: TypeSet, APIVersions: apiVersions, NameRule: setName, Async: true, Hidden: hiddenPaths,
		Merge: mergeSet, Admit: r.admit, Render: r.renderSet, Actions: r.setActions(),
	}
}

var apiVersions = []string{"2025-04-01", "2024-11-01", "2024-07-01", "2024-03-01", "2023-09-01", "2023-07-01", "2023-03-01", "2022-11-01", "2022-08-01", "2022-03-01",
	"2021-11-01", "2021-07-01", "2021-04-01", "2021-03-01", "2020-12-01", "2020-06-01", "2019-12-01", "2019-07-01", "2019-03-01", "2018-10-01", "2018-06-01", "2018-04-01",
	"2017-12-01", "2017-03-30", "2016-04-30-preview", "2016-03-30", "2015-06-15"}

var setName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}[A-Za-z0-9_]$|^[A-Za-z0-9_]$`)

// mergeSet makes a PUT's wish. Clients leave out what they don't want to change: az scales with a location and a sku
// alone, and updates without the image.
func mergeSet(stored, sent map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range stored {
		out[k] = v
	}
	for k, v := range sent {
		if v != nil || k != "properties" {
			out[k] = v
		}
	}
	if s, ok := sent["sku"].(map[string]any); ok {
		if old, ok := stored["sku"].(map[string]any); ok {
			out["sku"] = arm.MergePatch(old, s)
		}
	}
	props, _ := sent["properties"].(map[string]any)
	if props == nil {
		return out
	}
	keepMissing(stored["properties"], props, "virtualMachineProfile")
	from, to := at(stored, "properties", "virtualMachineProfile"), at(out, "properties", "virtualMachineProfile")
	for _, k := range []string{"osProfile", "storageProfile", "networkProfile", "extensionProfile"} {
		keepMissing(from, to, k)
	}
	keepMissing(from["storageProfile"], asMap(to["storageProfile"]), "imageReference")
	return out
}

// keepMissing copies a value that is stored and was not sent.
func keepMissing(stored any, sent map[string]any, key string) {
	if from := asMap(stored); sent != nil && from != nil && sent[key] == nil && from[key] != nil {
		sent[key] = from[key]
	}
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func at(m map[string]any, path ...string) map[string]any {
	for _, k := range path {
		m = asMap(m[k])
	}
	return m
}

// admit checks a set's wish and writes its defaults into it.
func (r *Room) admit(ctx context.Context, a *arm.Admission) error {
	dropReadOnly(a.Body)
	normalize(a.Body)
	var s set
	if err := arm.Convert(a.Body, &s); err != nil {
		return err
	}
	defaults(a, &s)
	for _, check := range []func(*arm.Admission, *set) error{
		r.checkSku, checkMode, checkProfile, r.checkImage, checkName, checkLogin, checkCustomData, checkExtensions, r.checkNetwork,
	} {
		if err := check(a, &s); err != nil {
			return err
		}
	}
	a.Refs = references(s.Properties.Profile.Network.Interfaces)
	if p := s.Properties.Profile.OS.AdminPassword; p != "" && !strings.HasPrefix(p, secret.Prefix) {
		go r.hashes.get(a.ID.Key(), p) // so that the machines need not wait for it
	}
	return nil
}

// flags are properties that templates like to send as strings.
var flags = []string{"primary", "overprovision", "singlePlacementGroup", "disablePasswordAuthentication", "provisionVMAgent", "enableAcceleratedNetworking",
	"enableIPForwarding", "autoUpgradeMinorVersion", "enableAutomaticUpgrade", "suppressFailures", "zoneBalance", "enabled"}

// normalize drops nulls, which mean nothing in a whole document, and makes booleans of flags, as Azure does.
func normalize(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, c := range v {
			s, isString := c.(string)
			switch {
			case c == nil:
				delete(v, k)
			case k == "settings" || k == "protectedSettings" || k == "tags": // somebody else's form
			case isString && slices.Contains(flags, k) && (strings.EqualFold(s, "true") || strings.EqualFold(s, "false")):
				v[k] = strings.EqualFold(s, "true")
			default:
				normalize(c)
			}
		}
	case []any:
		for _, c := range v {
			normalize(c)
		}
	}
}

// dropReadOnly takes out what lido shows and clients send back.
func dropReadOnly(body map[string]any) {
	if p := at(body, "properties"); p != nil {
		for _, k := range []string{"uniqueId", "timeCreated", "instanceView"} {
			delete(p, k)
		}
		delete(asMap(p["virtualMachineProfile"]), "timeCreated")
	}
}

// defaults writes down what Azure assumes.
func defaults(a *arm.Admission, s *set) {
	props := child(a.Body, "properties")
	sku := child(a.Body, "sku")
	if s.Sku.Tier == "" && strings.HasPrefix(s.Sku.Name, "Standard_") {
		sku["tier"], s.Sku.Tier = "Standard", "Standard"
	}
	if sku["capacity"] != nil { // as a number, however it was sent
		sku["capacity"] = int64(s.Sku.Capacity)
	}
	if props["singlePlacementGroup"] == nil {
		props["singlePlacementGroup"] = true
	}
	if props["overprovision"] == nil {
		props["overprovision"] = true
	}
	if props["platformFaultDomainCount"] == nil {
		props["platformFaultDomainCount"] = 5
	}
	props["orchestrationMode"] = "Uniform"
	os := &s.Properties.Profile.OS
	if os.ComputerNamePrefix == "" {
		os.ComputerNamePrefix = prefixOf(a.ID.Name())
		if m := at(props, "virtualMachineProfile", "osProfile"); m != nil {
			m["computerNamePrefix"] = os.ComputerNamePrefix
		}
	}
	disk := at(props, "virtualMachineProfile", "storageProfile")
	if disk != nil && s.Properties.Profile.Storage.Disk.OSType == "" {
		d := child(disk, "osDisk")
		d["osType"] = "Linux"
		if d["createOption"] == nil {
			d["createOption"] = "FromImage"
		}
	}
}

// prefixOf makes a prefix of computer names from a set's name.
func prefixOf(set string) string {
	p := strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return '-'
		}
		return r
	}, set)
	return strings.TrimLeft(p[:min(len(p), 58)], "-")
}

func child(m map[string]any, key string) map[string]any {
	c := asMap(m[key])
	if c == nil {
		c = map[string]any{}
		m[key] = c
	}
	return c
}

func invalid(path, format string, args ...any) *arm.Error {
	return arm.BadRequest(codeInvalid, path, format, args...)
}

func required(path string) *arm.Error {
	return invalid(path, "Required parameter '%s' is missing (null).", path)
}

func unknownSize(name, path string) *arm.Error {
	return invalid(path, "The value %s provided for the VM size is not valid. 'az vm list-sizes -l local' lists the sizes that lido has; others can be added in its configuration.", name)
}

func (r *Room) checkSku(a *arm.Admission, s *set) error {
	if s.Sku.Name == "" {
		return required("sku.name")
	}
	size, ok := r.Sizes.Lookup(s.Sku.Name)
	if !ok {
		return unknownSize(s.Sku.Name, "sku.name")
	}
	child(a.Body, "sku")["name"] = size.Name
	if at(a.Body, "sku")["capacity"] == nil {
		return required("sku.capacity")
	}
	if s.Sku.Capacity < 0 || s.Sku.Capacity > maxCapacity {
		return invalid("sku.capacity", "The value %d of parameter 'sku.capacity' is out of range. It must be from 0 to %d.", s.Sku.Capacity, maxCapacity)
	}
	if size.Memory() > r.Memory {
		return arm.Conflict("SkuNotAvailable", "The size %s has %s of memory; this host can give %s to all machines together. Choose a smaller size or raise the overcommit factor in lido's configuration.",
			size.Name, gib(size.Memory()), gib(r.Memory)).At("sku.name")
	}
	return nil
}

func checkMode(a *arm.Admission, s *set) error {
	for _, m := range []string{upgradeManual, upgradeAutomatic, upgradeRolling} {
		if strings.EqualFold(s.Properties.UpgradePolicy.Mode, m) {
			child(at(a.Body, "properties"), "upgradePolicy")["mode"] = m
			return nil
		}
	}
	if s.Properties.UpgradePolicy.Mode == "" {
		child(at(a.Body, "properties"), "upgradePolicy")["mode"] = upgradeManual
		return nil
	}
	return invalid("properties.upgradePolicy.mode", "The value '%s' of parameter 'upgradePolicy.mode' is invalid. It is one of Manual, Automatic, Rolling.", s.Properties.UpgradePolicy.Mode)
}

func checkProfile(a *arm.Admission, s *set) error {
	if at(a.Body, "properties", "virtualMachineProfile") == nil {
		return required(pathProfile)
	}
	if at(a.Body, "properties", "virtualMachineProfile", "osProfile") == nil {
		return required(pathOS)
	}
	if at(a.Body, "properties", "virtualMachineProfile", "networkProfile") == nil || len(s.Properties.Profile.Network.Interfaces) == 0 {
		return required(pathInterfaces)
	}
	return nil
}

func (r *Room) checkImage(a *arm.Admission, s *set) error {
	p := &s.Properties.Profile
	if p.OS.Windows != nil || strings.EqualFold(p.Storage.Disk.OSType, "Windows") {
		return invalid(pathOS+".windowsConfiguration", "Windows machines are not available: lido makes Linux machines only.")
	}
	i := p.Storage.Image
	if p.Storage.Disk.Image != nil || i.SharedGalleryImageID != "" || i.CommunityGalleryImageID != "" {
		return invalid(pathImage, "Disks and galleries of images are not available; name an image by publisher, offer, sku and version.")
	}
	if i == (imageReference{}) {
		return required(pathImage)
	}
	if i.ID == "" && (i.Publisher == "" || i.Offer == "" || i.SKU == "" || i.Version == "") {
		return invalid(pathImage, "The parameter 'imageReference' needs publisher, offer, sku and version.")
	}
	if strings.Contains(strings.ToLower(i.Publisher+i.Offer), "windows") {
		return invalid(pathImage, "Windows machines are not available: lido makes Linux machines only.")
	}
	if _, err := r.Images.Resolve(imageRef(i)); err != nil {
		return arm.Errorf(http.StatusNotFound, "PlatformImageNotFound", "The platform image '%s:%s:%s:%s' is not available: %v.", i.Publisher, i.Offer, i.SKU, i.Version, err).At(pathImage)
	}
	return nil
}

var computerPrefix = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,57})$`)

func checkName(_ *arm.Admission, s *set) error {
	if p := s.Properties.Profile.OS.ComputerNamePrefix; !computerPrefix.MatchString(p) {
		return invalid(pathOS+".computerNamePrefix", "Linux computer name prefix '%s' is invalid. It has 1 to 58 letters, digits and hyphens, and begins with a letter or digit.", p)
	}
	return nil
}

var (
	userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]*$`)
	// badUsers are the names that Azure refuses, and those that systems have already.
	badUsers = strings.Fields("administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2 aspnet backup console david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5 " +
		"daemon bin sync games man lp mail news uucp proxy www-data list irc gnats nobody sshd systemd-network systemd-resolve messagebus")
)

// badPasswords are those that Azure refuses by name.
var badPasswords = []string{"abc@123", "P@$$w0rd", "P@ssw0rd", "P@ssword123", "Pa$$word", "pass@word1", "Password!", "Password1", "Password22", "iloveyou!"}

func checkLogin(a *arm.Admission, s *set) error {
	os := &s.Properties.Profile.OS
	name := os.AdminUsername
	switch {
	case name == "":
		return required(pathOS + ".adminUsername")
	case slices.Contains(badUsers, strings.ToLower(name)):
		return invalid(pathOS+".adminUsername", "The Admin Username specified is not allowed.")
	case len(name) > 32 || !userName.MatchString(name):
		return invalid(pathOS+".adminUsername", "The Admin Username '%s' is invalid. It has 1 to 32 lower-case letters, digits, '-' and '_', and begins with a letter or '_'.", name)
	}
	keys := os.Linux.SSH.PublicKeys
	if err := checkKeys(keys, name); err != nil {
		return err
	}
	switch {
	case bool(os.Linux.DisablePasswordAuthentication) && len(keys) == 0:
		return invalid(pathOS+".linuxConfiguration.ssh.publicKeys", "Authentication using either SSH or by user name and password must be enabled in Linux profile. Give a public key.")
	case bool(os.Linux.DisablePasswordAuthentication):
		return nil // templates give a password (or the key again) all the same; no account gets it
	case os.AdminPassword == "" && len(keys) == 0:
		return invalid(pathOS+".adminPassword", "Required parameter 'adminPassword' is missing (null). Give a password or a public key.")
	}
	return checkPassword(os.AdminPassword)
}

func checkPassword(p string) error {
	if p == "" || strings.HasPrefix(p, secret.Prefix) {
		return nil // none, or one that was stored before
	}
	path := pathOS + ".adminPassword"
	if slices.ContainsFunc(badPasswords, func(b string) bool { return strings.EqualFold(b, p) }) {
		return invalid(path, "The supplied password is not allowed: it is known too well.")
	}
	if len(p) < 6 || len(p) > 72 {
		return invalid(path, "The supplied password must be between 6-72 characters long and must satisfy at least 3 of password complexity requirements from the following: Contains an uppercase character, Contains a lowercase character, Contains a numeric digit, Contains a special character, Control characters are not allowed.")
	}
	var upper, lower, digit, special int
	for _, r := range p {
		switch {
		case unicode.IsControl(r):
			return invalid(path, "The supplied password contains a control character, which is not allowed.")
		case unicode.IsUpper(r):
			upper = 1
		case unicode.IsLower(r):
			lower = 1
		case unicode.IsDigit(r):
			digit = 1
		default:
			special = 1
		}
	}
	if upper+lower+digit+special < 3 {
		return invalid(path, "The supplied password must satisfy at least 3 of password complexity requirements from the following: Contains an uppercase character, Contains a lowercase character, Contains a numeric digit, Contains a special character.")
	}
	return nil
}

func checkKeys(keys []publicKey, user string) error {
	for i, k := range keys {
		path := fmt.Sprintf("%s.linuxConfiguration.ssh.publicKeys[%d]", pathOS, i)
		if want := "/home/" + user + "/.ssh/authorized_keys"; k.Path != "" && k.Path != want {
			return invalid(path+".path", "Destination path for SSH public keys is currently limited to its default value %s due to a known issue in Linux provisioning agent.", want)
		}
		if k.KeyData == "" {
			return required(path + ".keyData")
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.KeyData)); err != nil && !strings.HasPrefix(k.KeyData, secret.Prefix) {
			return invalid(path+".keyData", "The value of parameter '%s.keyData' is invalid. It is not an OpenSSH public key.", path)
		}
	}
	return nil
}

func checkCustomData(_ *arm.Admission, s *set) error {
	d := s.Properties.Profile.OS.CustomData
	if d == "" || strings.HasPrefix(d, secret.Prefix) {
		return nil
	}
	if _, err := base64.StdEncoding.DecodeString(strings.TrimSpace(d)); err != nil || len(d) > 87380 {
		return invalid(pathCustomData, "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.")
	}
	return nil
}

func checkExtensions(_ *arm.Admission, s *set) error {
	list := s.Properties.Profile.Extensions.List
	for i, e := range list {
		path := fmt.Sprintf("%s[%d]", pathExtensions, i)
		switch {
		case e.Name == "":
			return required(path + ".name")
		case e.Properties.Publisher == "":
			return required(path + ".properties.publisher")
		case e.Properties.Type == "":
			return required(path + ".properties.type")
		case slices.ContainsFunc(list[:i], func(o extension) bool { return strings.EqualFold(o.Name, e.Name) }):
			return invalid(path+".name", "The extension name '%s' is used twice. Names of a scale set's extensions are unique.", e.Name)
		}
		for _, after := range e.Properties.After {
			if !slices.ContainsFunc(list, func(o extension) bool { return o.Name == after }) {
				return invalid(path+".properties.provisionAfterExtensions", "The extension '%s' is to be provisioned after '%s', which the scale set does not have.", e.Name, after)
			}
		}
	}
	if _, ok := inOrder(list); !ok {
		return invalid(pathExtensions, "The extensions wait for each other in a circle (provisionAfterExtensions).")
	}
	return nil
}

func (r *Room) checkNetwork(a *arm.Admission, s *set) error {
	return r.Network.Check(a.Tx, s.Properties.Profile.Network.Interfaces, pathInterfaces)
}

// references finds the ids that interface configurations mention.
func references(v []InterfaceConfig) []string {
	found := map[string]bool{}
	out := []string{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if id, ok := v["id"].(string); ok && strings.HasPrefix(id, "/") && !found[store.Key(id)] {
				found[store.Key(id)] = true
				out = append(out, id)
			}
			for _, c := range v {
				walk(c)
			}
		case []any:
			for _, c := range v {
				walk(c)
			}
		}
	}
	for _, c := range v {
		walk(map[string]any(c))
	}
	slices.Sort(out)
	return out
}
