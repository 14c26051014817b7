package compute

import (
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

const maxCapacity = 1000

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
	if m := s.Properties.OrchestrationMode; m != "" && !strings.EqualFold(m, "Uniform") && !strings.EqualFold(m, "Flexible") {
		return invalid("properties.orchestrationMode", "The value '%s' of parameter 'orchestrationMode' is invalid. It is one of Uniform, Flexible.", m)
	}
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
	for i, c := range s.Properties.Profile.Network.Interfaces {
		if name, _ := c["name"].(string); name == "" {
			return required(fmt.Sprintf("%s[%d].name", pathInterfaces, i))
		}
	}
	return nil
}

// scaleInRules are the orders in which surplus instances may be chosen, as Azure spells them.
var scaleInRules = []string{scaleInDefault, scaleInOldest, scaleInNewest}

func checkScaleIn(_ *arm.Admission, s *set) error {
	for i, rule := range s.Properties.ScaleIn.Rules {
		if !slices.Contains(scaleInRules, rule) {
			return invalid(fmt.Sprintf("properties.scaleInPolicy.rules[%d]", i), "The value '%s' of parameter 'scaleInPolicy.rules' is invalid. It is one of %s.", rule, strings.Join(scaleInRules, ", "))
		}
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
		return arm.Errorf(http.StatusNotFound, "PlatformImageNotFound", "The platform image '%s' is not available: %v.", i, err).At(pathImage)
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
	userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
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
		return invalid(pathOS+".adminUsername", "The Admin Username '%s' is invalid. It has 1 to 32 letters, digits, '-' and '_', and begins with a letter or '_'.", name)
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
