package batch

import (
	"net/url"
	"path"
	"strings"

	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// mountsUnder are volumes as a node mounts them below a directory.
func mountsUnder(v mountVolumes, root string, servers map[string]node.Mount) []node.Mount {
	var out []node.Mount
	for _, s := range v.Shares {
		u, err := url.Parse(s.URL)
		if err != nil {
			continue // refused at admission
		}
		options := "vers=3.0,file_mode=" + or(s.FileMode, "0777") + ",dir_mode=" + or(s.DirMode, "0777")
		out = append(out, node.Mount{Kind: "cifs", Source: "//" + u.Host + strings.TrimSuffix(u.Path, "/"), Target: path.Join(root, s.Path),
			Options: options, Username: s.Account, Password: s.Credentials.Key})
	}
	for _, c := range v.Containers {
		out = append(out, node.Mount{Kind: "blob", Source: "//" + c.Account + ".blob/" + c.Container, Target: path.Join(root, c.Path),
			Options: c.Options, Username: c.Account, Password: c.Credentials.Key})
	}
	for _, s := range v.Servers {
		m := servers[store.Key(s.Server.ID)]
		m.Kind, m.Target, m.Options = "server", path.Join(root, s.Path), s.Options
		m.Source = strings.TrimSuffix(m.Source+"/"+strings.Trim(s.SourceDir, "/"), "/")
		out = append(out, m)
	}
	for _, u := range v.Unmanaged {
		out = append(out, node.Mount{Kind: "command", Source: u.Command, Target: path.Join(root, u.Path)})
	}
	return out
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
