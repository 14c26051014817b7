package compute

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
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
	codeImage         = "OSProvisioningInternalError"
	codeNetwork       = "NetworkingInternalOperationError"
)

// The rules of scaleInPolicy.
const (
	scaleInDefault = "Default"
	scaleInOldest  = "OldestVM"
	scaleInNewest  = "NewestVM"
)

// The upgrade modes.
const (
	upgradeManual    = "Manual"
	upgradeAutomatic = "Automatic"
	upgradeRolling   = "Rolling"
)

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
		r.checkSku, checkMode, checkScaleIn, checkProfile, r.checkImage, checkName, checkLogin, checkCustomData, checkExtensions, r.checkNetwork,
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
