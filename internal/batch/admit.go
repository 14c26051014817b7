package batch

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
)

// admitFileServer checks a file server: in Azure a machine that serves NFS, here a directory of the pool.
func (r *Room) admitFileServer(_ context.Context, a *arm.Admission) error {
	props := prepare(a, "mountSettings")
	var wish struct {
		Properties struct {
			VMSize string `json:"vmSize"`
			SSH    *struct {
				User userAccount `json:"userAccountSettings"`
			} `json:"sshConfiguration"`
			Disks *struct {
				Size    arm.Int `json:"diskSizeInGB"`
				Count   arm.Int `json:"diskCount"`
				Account string  `json:"storageAccountType"`
				Caching string  `json:"cachingType"`
			} `json:"dataDisks"`
			Subnet *ref `json:"subnet"`
		}
	}
	if err := arm.Convert(a.Body, &wish); err != nil {
		return err
	}
	p := &wish.Properties
	switch {
	case p.SSH == nil:
		return missing("properties.sshConfiguration")
	case p.Disks == nil:
		return missing("properties.dataDisks")
	case p.Disks.Size < 1:
		return invalid("properties.dataDisks.diskSizeInGB", "it is a positive number")
	case p.Disks.Count < 1:
		return invalid("properties.dataDisks.diskCount", "it is a positive number")
	case p.Disks.Account == "":
		return missing("properties.dataDisks.storageAccountType")
	}
	if err := first(r.checkSize(p.VMSize, "properties.vmSize"), checkUser(&p.SSH.User, "properties.sshConfiguration.userAccountSettings"),
		oneOf("properties.dataDisks.cachingType", &p.Disks.Caching, "none", "readonly", "readwrite")); err != nil {
		return err
	}
	if disks, ok := props["dataDisks"].(map[string]any); ok {
		disks["cachingType"] = p.Disks.Caching
	}
	a.Refs = []string{}
	if p.Subnet != nil && p.Subnet.ID != "" {
		if err := subnetExists(a.Tx, p.Subnet.ID); err != nil {
			return err
		}
		a.Refs = append(a.Refs, p.Subnet.ID)
	}
	if a.Old == nil {
		return nil
	}
	return r.unchanged(a, fileServerSecrets, "The file server '%s' exists already and cannot be changed. Delete it, or give the other one another name.")
}

// checkingFirst checks what cannot be checked in the transaction that writes: that storage keys open what is to be
// mounted, and that the caller may use the cluster. mounts is the path of the volumes.
func (r *Room) checkingFirst(put arm.Handler, mounts string) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		var wish struct {
			Properties struct {
				Cluster ref          `json:"cluster"`
				Mounts  mountVolumes `json:"mountVolumes"`
				Setup   nodeSetup    `json:"nodeSetup"`
			}
		}
		if err := req.Decode(&wish); err != nil {
			return nil, err
		}
		if id := arm.ParsePath(wish.Properties.Cluster.ID); strings.EqualFold(id.Type(), TypeCluster) && !r.Server.Access.Allowed(ctx, req.Caller, TypeCluster+"/read", id) {
			return nil, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "You may not use the cluster '%s'. Ask its owner for access.", id).At("properties.cluster.id")
		}
		m := &wish.Properties.Mounts
		if strings.Contains(mounts, "nodeSetup") {
			m = &wish.Properties.Setup.Mounts
		}
		if err := r.checkKeys(ctx, m, mounts); err != nil {
			return nil, err
		}
		return put(ctx, req)
	}
}

// checkKeys checks that each storage key that a client gave opens what is to be mounted.
func (r *Room) checkKeys(ctx context.Context, m *mountVolumes, at string) error {
	if r.Drives == nil {
		return nil
	}
	return first(
		each(m.Shares, at+"azureFileShares", func(s *fileShare, at string) error {
			share, _ := s.shareName()
			if s.Credentials.Key == "" || isPlaceholder(s.Credentials.Key) || checkShare(s, at) != nil {
				return nil // said later
			}
			_, err := r.Drives.ShareDir(ctx, s.Account, s.Credentials.Key, share)
			return storageFault(err, at, ".azureFileUrl")
		}),
		each(m.Containers, at+"azureBlobFileSystems", func(c *blobContainer, at string) error {
			if c.Credentials.Key == "" || isPlaceholder(c.Credentials.Key) || checkContainer(c, at) != nil {
				return nil
			}
			_, err := r.Drives.ContainerDir(ctx, c.Account, c.Credentials.Key, c.Container)
			return storageFault(err, at, ".containerName")
		}))
}

// storageFault says in the service's form why a volume cannot be mounted.
func storageFault(err error, at, name string) error {
	switch {
	case errors.Is(err, ErrNoAccount):
		return arm.BadRequest("StorageAccountNotFound", at+".accountName", "The file system cannot be mounted: %v.", err)
	case errors.Is(err, ErrWrongKey):
		return arm.BadRequest("InvalidCredentials", at+".credentials.accountKey", "The file system cannot be mounted: %v.", err)
	case errors.Is(err, ErrNoShare):
		return arm.BadRequest("ShareNotFound", at+name, "The file system cannot be mounted: %v.", err)
	}
	return err
}
