package batch

import (
	"cmp"
	"context"
	"net/url"
	"path"
	"strings"

	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// nodeMounts are a cluster's volumes as its nodes mount them below mountRoot.
func (r *Room) nodeMounts(ctx context.Context, v *mountVolumes) ([]node.Mount, error) {
	servers, err := r.serverMounts(ctx, v)
	if err != nil {
		return nil, err
	}
	return volumesUnder(v, mountRoot, servers), nil
}

// serverMounts are what file servers are mounted by, by their keys. One that is gone has none: its mount fails with a reason.
func (r *Room) serverMounts(ctx context.Context, v *mountVolumes) (map[string]node.Mount, error) {
	out := map[string]node.Mount{}
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		for _, s := range v.Servers {
			d, err := tx.Get(s.Server.ID)
			if err == nil {
				out[store.Key(s.Server.ID)] = node.Mount{Source: "//" + d.UID + ".server", Username: d.UID, Password: r.Drives.ServerKey(d.UID)}
			} else if ignoreNotFound(err) != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// volumesUnder are volumes as a node mounts them below a directory.
func volumesUnder(v *mountVolumes, root string, servers map[string]node.Mount) []node.Mount {
	var out []node.Mount
	for _, s := range v.Shares {
		u, err := url.Parse(s.URL)
		if err != nil {
			continue // refused at admission
		}
		options := "vers=3.0,file_mode=" + cmp.Or(s.FileMode, "0777") + ",dir_mode=" + cmp.Or(s.DirMode, "0777")
		out = append(out, node.Mount{Kind: "cifs", Source: "//" + u.Host + strings.TrimSuffix(u.Path, "/"), Target: path.Join(root, s.Path),
			Options: options, Username: s.Account, Password: s.Credentials.Key})
	}
	for _, c := range v.Containers {
		out = append(out, node.Mount{Kind: "blob", Source: "//" + c.Account + ".blob/" + c.Container, Target: path.Join(root, c.Path),
			Options: c.Options, Username: c.Account, Password: c.Credentials.Key})
	}
	for _, s := range v.Servers {
		out = append(out, serverMount(s, root, servers[store.Key(s.Server.ID)])...)
	}
	for _, u := range v.Unmanaged {
		out = append(out, node.Mount{Kind: "command", Source: u.Command, Target: path.Join(root, u.Path)})
	}
	return out
}

// serverMount mounts a file server, or a directory of it: then the server goes to a place of its own first. The host
// mounts whole servers only, for links in them are the nodes' people's.
func serverMount(s fileServerUse, root string, m node.Mount) []node.Mount {
	target := path.Join(root, s.Path)
	m.Kind, m.Target, m.Options = "server", target, s.Options
	dir := path.Clean("/" + s.SourceDir)
	if dir == "/" {
		return []node.Mount{m}
	}
	m.Target = path.Join(nodeRoot, "servers", m.Username)
	from := m.Target + dir
	return []node.Mount{m, {Kind: "command", Target: target,
		Source: "mkdir -p -m 1777 " + quoteLiteral(from) + " && mount --bind " + quoteLiteral(from) + " " + quoteLiteral(target)}}
}
