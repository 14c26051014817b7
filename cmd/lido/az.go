package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/azenv"
	"lido.dev/lido/internal/identity"
	"lido.dev/lido/internal/pki"
)

func newAzCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "az",
		Short: "Let the az command line use this lido, in this shell only",
	}
	cmd.AddCommand(newAzEnvCommand(), newAzForgetCommand())
	return cmd
}

type azEnvOptions struct {
	server, fingerprint   string
	user, password, shell string
	dir                   string
	app                   bool
}

func newAzEnvCommand() *cobra.Command {
	var opt azEnvOptions
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the shell lines that make az use a lido",
		Long: `Make an isolated configuration of az in which lido is the cloud, its certificate authority is trusted and
you are signed in; print the shell lines that select it. Your own ~/.azure is not touched.

On lido's own computer, --data takes address, certificate and the admin's password from the data directory.
From another computer, give --server and the --fingerprint that 'lido up' printed, and an account.`,
		Example: `  eval "$(sudo lido az env --data /var/lib/lido)"
  eval "$(lido az env --server https://pool.example:8443 --fingerprint 3f0c... --user alice)"
  lido az env --shell fish | source
  eval "$(lido az forget)"`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&opt.server, "server", "", "the server's address, https://HOST:PORT, in place of --data")
	f.StringVar(&opt.fingerprint, "fingerprint", "", "SHA-256 of the server's certificate authority, with --server")
	f.StringVar(&opt.user, "user", os.Getenv("LIDO_USER"), "account to sign in (preset by LIDO_USER; with --data: the admin)")
	f.StringVar(&opt.password, "password", "", "its password; better give it in LIDO_PASSWORD, or be asked")
	f.BoolVar(&opt.app, "service-principal", false, "the account is a service principal, given by its app id")
	f.StringVar(&opt.shell, "shell", "sh", "shell to print for: sh (also bash, zsh, ksh) or fish")
	f.StringVar(&opt.dir, "dir", "", "directory for az's configuration (default below ~/.local/state/lido/az)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		shell, err := azenv.ParseShell(opt.shell)
		if err != nil {
			return err
		}
		dir, url, err := makeAzEnv(cmd.Context(), opt, *data)
		if err != nil {
			return err
		}
		shell.WriteExports(cmd.OutOrStdout(), azenv.Vars(dir, url), os.LookupEnv)
		return nil
	}
	return cmd
}

func makeAzEnv(ctx context.Context, opt azEnvOptions, data string) (dir, url string, err error) {
	server, login, err := azTarget(ctx, opt, data)
	if err != nil {
		return "", "", err
	}
	root, owner, err := azRoot()
	if err != nil {
		return "", "", err
	}
	if dir = opt.dir; dir == "" {
		dir = filepath.Join(root, azDirName(server))
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	o := azenv.Options{Dir: dir, Server: server, Login: login, SystemCAs: azenv.SystemCAs(os.LookupEnv), Owner: owner, Now: time.Now()}
	if opt.server == "" {
		p, err := newPaths(data)
		if err != nil {
			return "", "", err
		}
		o.Data = p.Data
	}
	return dir, server.URL, azenv.Make(ctx, o)
}

// azTarget says which server to use and who signs in.
func azTarget(ctx context.Context, opt azEnvOptions, data string) (azenv.Server, azenv.Login, error) {
	if opt.server != "" {
		server, err := remoteServer(ctx, opt)
		if err != nil {
			return server, azenv.Login{}, err
		}
		login, err := askLogin(opt)
		return server, login, err
	}
	p, err := newPaths(data)
	if err != nil {
		return azenv.Server{}, azenv.Login{}, err
	}
	server, err := localServer(ctx, p)
	if err != nil {
		return server, azenv.Login{}, err
	}
	if opt.user != "" {
		login, err := askLogin(opt)
		return server, login, err
	}
	login, err := adminLogin(p)
	return server, login, err
}

func localServer(ctx context.Context, p paths) (azenv.Server, error) {
	st, err := newControlClient(p).state(ctx)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%s belongs to root: run it with sudo, or give --server, --fingerprint and --user", p.Data)
	}
	if err != nil {
		return azenv.Server{}, err
	}
	ca, err := os.ReadFile(filepath.Join(p.Data, "ca", "ca.pem"))
	return azenv.Server{URL: st.URL, CA: ca}, err
}

func remoteServer(ctx context.Context, opt azEnvOptions) (azenv.Server, error) {
	if opt.fingerprint == "" {
		return azenv.Server{}, errors.New("--server needs --fingerprint: the CA fingerprint that 'lido up' printed on the server")
	}
	u, err := url.Parse(opt.server)
	if err != nil || u.Scheme != "https" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return azenv.Server{}, fmt.Errorf("--server %q: want https://HOST:PORT", opt.server)
	}
	host := strings.ToLower(u.Host)
	ca, err := pki.FetchPinned(ctx, host, opt.fingerprint)
	return azenv.Server{URL: "https://" + host, CA: ca}, err
}

func adminLogin(p paths) (azenv.Login, error) {
	data, err := os.ReadFile(identity.AdminFile(p.Data))
	if errors.Is(err, fs.ErrNotExist) {
		return azenv.Login{}, fmt.Errorf("%s is gone: give --user", identity.AdminFile(p.Data))
	}
	if err != nil {
		return azenv.Login{}, err
	}
	var cred identity.AdminCredentials
	err = json.Unmarshal(data, &cred)
	return azenv.Login{User: cred.User, Password: cred.Password}, err
}

func askLogin(opt azEnvOptions) (azenv.Login, error) {
	if opt.user == "" {
		return azenv.Login{}, errors.New("who signs in? Give --user (or LIDO_USER)")
	}
	password := opt.password
	if password == "" {
		password = os.Getenv("LIDO_PASSWORD")
	}
	var err error
	if password == "" {
		password, err = askPassword("Password of " + opt.user + ": ")
	}
	return azenv.Login{User: opt.user, Password: password, App: opt.app}, err
}

// azRoot is where the directories of az belong. Under sudo that is with the person who called it, not with root.
func azRoot() (string, *azenv.Owner, error) {
	home, owner, err := azHome()
	return filepath.Join(home, "lido", "az"), owner, err
}

// azHome is where the person's state belongs.
func azHome() (string, *azenv.Owner, error) {
	uid, errU := strconv.Atoi(os.Getenv("SUDO_UID"))
	gid, errG := strconv.Atoi(os.Getenv("SUDO_GID"))
	if os.Geteuid() == 0 && errU == nil && errG == nil && uid != 0 {
		u, err := user.LookupId(strconv.Itoa(uid))
		if err != nil {
			return "", nil, err
		}
		return filepath.Join(u.HomeDir, ".local", "state"), &azenv.Owner{UID: uid, GID: gid}, nil
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return state, nil, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state"), nil, err
}

// azDirName is one name per server, so that several don't mix.
func azDirName(s azenv.Server) string {
	return strings.NewReplacer("https://", "", ":", "_", "[", "", "]", "").Replace(s.URL)
}

func newAzForgetCommand() *cobra.Command {
	var shell, dir, data string
	cmd := &cobra.Command{
		Use:   "forget",
		Short: "Undo 'lido az env': remove its directory, print the lines that restore the shell",
		Example: `  eval "$(lido az forget)"
  sudo lido az forget --data /var/lib/lido   # also in another shell`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&shell, "shell", "sh", "shell to print for: sh (also bash, zsh, ksh) or fish")
	cmd.Flags().StringVar(&dir, "dir", "", "directory to remove (default the one of this shell, "+azenv.DirVar+")")
	cmd.Flags().StringVar(&data, "data", "", "remove those made with this --data")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sh, err := azenv.ParseShell(shell)
		if err != nil {
			return err
		}
		dirs, err := azForgetDirs(dir, data)
		if err != nil {
			return err
		}
		on := os.Getenv(azenv.DirVar)
		for _, d := range dirs {
			if d == on {
				sh.WriteUnsets(cmd.OutOrStdout(), os.LookupEnv)
			}
			if err := azenv.Remove(d); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// azForgetDirs are the directories to remove.
func azForgetDirs(dir, data string) ([]string, error) {
	switch on := os.Getenv(azenv.DirVar); {
	case dir != "":
		return []string{dir}, nil
	case data != "":
		p, err := newPaths(data)
		if err != nil {
			return nil, err
		}
		root, _, err := azRoot()
		return azenv.Find(root, p.Data), err
	case on != "":
		return []string{on}, nil
	}
	return nil, errors.New("no lido environment is on in this shell; name it by --dir, or its server's by --data")
}
