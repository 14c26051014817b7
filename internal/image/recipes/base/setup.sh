# Runs in the new root after the packages and the files of the recipe are in place.

# Units that have nothing to do in a container, or that the host does for it.
systemctl mask --quiet \
	systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service systemd-udev-settle.service \
	systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service systemd-resolved.service systemd-timesyncd.service \
	systemd-remount-fs.service systemd-modules-load.service kmod-static-nodes.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
	systemd-journal-flush.service systemd-tmpfiles-setup-dev.service systemd-firstboot.service systemd-repart.service systemd-random-seed.service systemd-machine-id-commit.service systemd-pstore.service \
	systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-pcrphase-initrd.service \
	systemd-ask-password-console.path systemd-ask-password-wall.path systemd-initctl.socket systemd-journald-audit.socket \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service systemd-boot-update.service \
	getty.target getty-static.service console-getty.service getty@.service serial-getty@.service \
	e2scrub_reap.service e2scrub_all.timer fstrim.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	cloud-init-hotplugd.socket cloud-init-hotplugd.service
for g in cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local system-update veritysetup; do
	ln -sf /dev/null "/etc/systemd/system-generators/systemd-$g-generator"
done
systemctl set-default --quiet multi-user.target
systemctl enable --quiet ssh.service journal-persist.service lido-trust.service
rm -rf /etc/sysctl.d/* /etc/sysctl.conf

# Accounts and homes are there before the first boot: nobody is refused because the machine is still booting.
mkdir -p /etc/tmpfiles.d
ln -sf /dev/null /etc/tmpfiles.d/systemd-nologin.conf

# A later `apt-get install cifs-utils` in a machine must not replace the mount helpers. The package has them under
# /sbin or /usr/sbin, which is the same directory by a link.
for p in /sbin/mount.cifs /sbin/mount.smb3 /usr/sbin/mount.cifs /usr/sbin/mount.smb3; do
	dpkg-divert --quiet --local --no-rename --divert "$p.distrib" --add "$p"
done
ln -sf mount.cifs /usr/sbin/mount.smb3

# One locale. What a client's environment wishes for would only draw complaints.
echo 'LANG=C.UTF-8' >/etc/default/locale
sed -i 's/^AcceptEnv LANG LC_\*/#&/' /etc/ssh/sshd_config
rm -f /etc/motd /etc/update-motd.d/10-uname

# What each machine must have of its own.
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
echo 'localhost' >/etc/hostname
rm -rf /var/log/journal
mkdir -p /var/log/journal
mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /run/test_key && sshd -t -h /run/test_key && rm -rf /run/test_key* /run/sshd
visudo -cqf /etc/sudoers
