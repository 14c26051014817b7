package compute

import (
	"encoding/base64"
	"fmt"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// adminUID is the admin user's uid in every machine, so that files on a share have one owner.
const adminUID = 1000

// spec says how the machine is to be.
func (r *Room) spec(setID string, v *instanceView, l *launching) (machine.Spec, error) {
	files, err := r.files(setID, v, l)
	if err != nil {
		return machine.Spec{}, err
	}
	admin, err := r.admin(setID, l)
	if err != nil {
		return machine.Spec{}, err
	}
	s := machine.Spec{
		ID: l.id, Hostname: v.Wish.Computer, Root: l.root,
		Labels: map[string]string{labelSet: setID, labelInstance: v.ID, labelUID: v.UID},
		CPUs:   float64(l.size.CPUs), Memory: l.size.Memory(),
		NIC: &l.nic, Accounts: []machine.Account{admin}, Files: files,
	}
	if r.RunDir != "" {
		s.HostDir = r.guests.dir(l.id)
	}
	return s, nil
}

func (r *Room) admin(setID string, l *launching) (machine.Account, error) {
	os := &l.model.Profile.OS
	a := machine.Account{Name: os.AdminUsername, UID: adminUID, Sudo: true, Groups: []string{"adm", "video", "plugdev", "docker"}}
	for _, k := range os.Linux.SSH.PublicKeys {
		a.AuthorizedKeys = append(a.AuthorizedKeys, strings.TrimSpace(k.KeyData))
	}
	if os.AdminPassword == "" || bool(os.Linux.DisablePasswordAuthentication) {
		return a, nil
	}
	hash, err := r.hashes.get(store.Key(setID), os.AdminPassword)
	a.PasswordHash = hash
	return a, err
}

// files are what a machine finds on its disk at its first boot.
func (r *Room) files(setID string, v *instanceView, l *launching) ([]machine.File, error) {
	address := strings.ToLower(setID)
	names := []string{strings.ToLower(v.Wish.Computer)}
	if len(l.fronts) > 0 {
		address = l.fronts[0].String()
	}
	for _, a := range l.fronts {
		names = append(names, a.String())
	}
	for _, p := range l.nic.Addresses {
		names = append(names, p.Addr().String())
	}
	private, public, err := r.Keys.HostKey(address)
	if err != nil {
		return nil, fmt.Errorf("ssh host key: %w", err)
	}
	cert, key, err := r.Keys.ServerCert(names...)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	files := []machine.File{
		{Path: "/etc/ssh/ssh_host_ed25519_key", Data: private, Mode: 0o600},
		{Path: "/etc/ssh/ssh_host_ed25519_key.pub", Data: public},
		{Path: certPath, Data: cert},
		{Path: keyPath, Data: key, Mode: 0o600},
		{Path: "/etc/ssh/sshd_config.d/10-lido-instance.conf", Data: sshdConfig(&l.model.Profile.OS)},
	}
	files = append(files, r.GuestFiles...)
	custom, err := customData(v, l.model.Profile.OS.CustomData)
	return append(files, custom...), err
}

func sshdConfig(os *osProfile) []byte {
	key := "HostKey /etc/ssh/ssh_host_ed25519_key\n"
	if bool(os.Linux.DisablePasswordAuthentication) {
		return []byte(key + "# The scale set wants keys only.\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n")
	}
	return []byte(key + "PasswordAuthentication yes\n")
}

// customData hands a template's customData to cloud-init, or, if it is a script, has it run at the first boot.
func customData(v *instanceView, encoded string) ([]machine.File, error) {
	if encoded == "" {
		return nil, nil
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return nil, arm.BadRequest("InvalidParameter", pathCustomData, "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.")
	}
	files := []machine.File{{Path: "/var/lib/waagent/CustomData", Data: []byte(encoded), Mode: 0o600}}
	if strings.HasPrefix(string(data), "#!") {
		return append(files,
			machine.File{Path: "/var/lib/lido/custom-data", Data: data, Mode: 0o700},
			machine.File{Path: "/etc/systemd/system/lido-custom-data.service", Data: []byte(customDataUnit)},
			machine.File{Path: "/etc/systemd/system/multi-user.target.d/lido-custom-data.conf", Data: []byte("[Unit]\nWants=lido-custom-data.service\n")}), nil
	}
	seed := "/var/lib/cloud/seed/nocloud/"
	meta := fmt.Sprintf("instance-id: %s\nlocal-hostname: %s\n", machineID(v.UID, v.Wish.Serial), v.Wish.Computer)
	return append(files,
		machine.File{Path: seed + "user-data", Data: data, Mode: 0o600},
		machine.File{Path: seed + "meta-data", Data: []byte(meta)}), nil
}

const customDataUnit = `[Unit]
Description=The scale set's custom data
After=network-online.target
Wants=network-online.target
ConditionPathExists=!/var/lib/lido/custom-data.done

[Service]
Type=oneshot
ExecStart=/var/lib/lido/custom-data
ExecStopPost=/bin/touch /var/lib/lido/custom-data.done
StandardOutput=append:/var/log/custom-data.log
StandardError=inherit
`
