package compute

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// Labels of this room's machines.
const (
	labelSet      = "lido.set"      // id of the scale set
	labelInstance = "lido.instance" // id of the instance
	labelUID      = "lido.uid"      // uid of the instance's document
)

// launch makes the instance's machine, if it is not there, and starts it.
func (w *worker) launch(ctx context.Context, v *instanceView) error {
	r := w.c.room
	l, err := w.prepare(ctx, v)
	if err != nil {
		return err
	}
	if l.nic, err = w.connect(ctx, v, l.model); err != nil {
		return err
	}
	if err := r.launches.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.launches.Release(1)
	if err := r.ledger.reserve(v.UID, l.size.Memory(), l.size.Name); err != nil {
		return err
	}
	if err := w.boot(ctx, v, l); err != nil {
		if v.Machine == nil && !errors.Is(context.Cause(ctx), errSuperseded) {
			r.abandon(l.id, v.UID)
		}
		return err
	}
	return w.record(v, func(s *status) {
		if s.Serial != v.Wish.Serial {
			s.Extensions = nil
		}
		s.Serial, s.Built, s.Starts, s.Restarts = v.Wish.Serial, v.MachineHash, v.Wish.Starts, v.Wish.Restarts
		s.Power, s.PowerAt, s.NoAddress = PowerOn, r.Now(), false
		if l.image != nil {
			s.Image = l.image
		}
		s.well()
		if len(v.Extensions) == 0 { // as wished for: spare the extra write
			v.Machine = &machine.Info{State: machine.Running}
			r.settleStatus(s, v)
		}
	})
}

// abandon removes what a launch that failed has made, for the next attempt to begin afresh.
func (r *Room) abandon(id, uid string) {
	if err := r.deleteMachine(r.ctx, id); err != nil && r.ctx.Err() == nil {
		r.Log.Warn("remove a machine that did not start", "machine", id, "err", err)
	}
	r.release(uid)
}

// launching is what a launch has gathered before it touches the engine.
type launching struct {
	id     string
	size   Size
	model  *Model // with secrets in clear
	root   string
	image  *ImageInfo // nil if the machine exists
	fronts []netip.Addr
	nic    machine.NIC
}

// prepare reads the model and has the image built, however long that takes.
func (w *worker) prepare(ctx context.Context, v *instanceView) (*launching, error) {
	r := w.c.room
	l := &launching{id: machineID(v.UID, v.Wish.Serial)}
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		var err error
		if l.model, _, err = r.openModel(tx, w.setID, v.Wish.Model); err != nil {
			return err
		}
		l.fronts, err = r.Network.PoolAddresses(tx, l.model.Profile.Network.Interfaces)
		return err
	})
	if err != nil {
		return nil, err
	}
	var known bool
	if l.size, known = r.Sizes.Lookup(l.model.Sku.Name); !known {
		return nil, unknownSize(l.model.Sku.Name, "sku.name")
	}
	if v.Machine != nil {
		return l, nil
	}
	return l, w.ensureImage(ctx, l)
}

func (w *worker) ensureImage(ctx context.Context, l *launching) error {
	r := w.c.room
	key := store.Key(w.setID)
	defer r.progress.end(key)
	root, info, err := r.Images.Ensure(ctx, imageRef(l.model.Profile.Storage.Image), func(s string) { r.progress.say(key, s) })
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	l.root, l.image = root, &info
	return nil
}

func imageRef(i imageReference) ImageRef {
	return ImageRef{Publisher: i.Publisher, Offer: i.Offer, SKU: i.SKU, Version: string(i.Version), ID: i.ID}
}

// boot creates and starts the machine.
func (w *worker) boot(ctx context.Context, v *instanceView, l *launching) error {
	r := w.c.room
	guest := guest{machine: l.id, instance: v.ID, set: w.setID, admin: l.model.Profile.OS.AdminUsername}
	if err := r.guests.begin(guest); err != nil {
		return err
	}
	if v.Machine == nil {
		spec, err := r.spec(w.setID, v, l)
		if err != nil {
			return err
		}
		if err := r.Engine.Create(ctx, spec); err != nil && !errors.Is(err, machine.ErrExists) { // its id is this instance's alone
			return fmt.Errorf("create machine: %w", err)
		}
	}
	if err := r.Engine.Start(ctx, l.id); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	return nil
}

// connect returns the machine's network interface, in a network that is up. It is not counted among the launches that
// may go on at once: the network is made ready for many instances together.
func (w *worker) connect(ctx context.Context, v *instanceView, m *Model) (machine.NIC, error) {
	if v.Status.NoAddress || v.Wish.Serial > 1 { // a machine made anew may have another model's pools
		if err := w.attach(v, m); err != nil {
			return machine.NIC{}, err
		}
	}
	nic, err := w.c.room.Network.NIC(ctx, v.ID)
	if err != nil {
		err = fmt.Errorf("network interface: %w", err)
	}
	return nic, err
}

func (w *worker) attach(v *instanceView, m *Model) error {
	return w.c.room.writer.do(func(tx *store.Tx) error {
		return w.c.room.Network.Attach(tx, ownerOf(w.setID, v.ID, v.UID, v.Wish.Computer), m.Profile.Network.Interfaces)
	})
}

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
		{Path: "/etc/lido/tls/cert.pem", Data: cert},
		{Path: "/etc/lido/tls/key.pem", Data: key, Mode: 0o600},
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

// adopt takes over the machines of an earlier run of lido: their memory, and their guests' sockets.
func (r *Room) adopt(infos []machine.Info) error {
	deallocated, err := r.deallocated()
	if err != nil {
		return err
	}
	for _, m := range infos {
		if m.Spec.Labels[labelInstance] == "" {
			continue
		}
		if uid := m.Spec.Labels[labelUID]; !deallocated[uid] {
			r.ledger.adopt(uid, m.Spec.Memory)
		}
		g := guest{machine: m.ID, instance: m.Spec.Labels[labelInstance], set: m.Spec.Labels[labelSet]}
		if len(m.Spec.Accounts) > 0 {
			g.admin = m.Spec.Accounts[0].Name
		}
		if err := r.guests.begin(g); err != nil {
			r.Log.Error("guest socket", "machine", m.ID, "err", err)
		}
	}
	r.removeStaleGuests(infos)
	return nil
}

// deallocated returns the uids of instances that hold no memory.
func (r *Room) deallocated() (map[string]bool, error) {
	out := map[string]bool{}
	err := r.Store.View(r.ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: TypeInstance})
		if err != nil {
			return err
		}
		for _, d := range docs {
			var st status
			if err := json.Unmarshal(d.Status, &st); err != nil {
				return err
			}
			out[d.UID] = st.Power == PowerDeallocated
		}
		return nil
	})
	return out, err
}

// removeStaleGuests removes the directories of machines that are no more.
func (r *Room) removeStaleGuests(infos []machine.Info) {
	if r.RunDir == "" {
		return
	}
	live := map[string]bool{}
	for _, m := range infos {
		live[m.ID] = true
	}
	entries, err := os.ReadDir(r.RunDir)
	if err != nil {
		return // not there yet
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vm-") && !live[e.Name()] {
			os.RemoveAll(filepath.Join(r.RunDir, e.Name()))
		}
	}
}
