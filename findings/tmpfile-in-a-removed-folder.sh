#!/usr/bin/env bash
# Linux 6.18, ext4 and tmpfs. A folder is found by its name, or is open, and is removed before a file
# is made in it. With O_CREAT that is ENOENT, which programs take for "the folder is gone: make it
# again". With O_TMPFILE, a file without a name, ext4 says EPERM, which reads as a lack of rights.
#
# Guess before the run: EPERM on ext4; a file on tmpfs, as nothing is written into the folder.
# Exits with 1 when that is no longer so, and with 2 where there is no ext4 or tmpfs to try it on.
# Needs python3.
set -euo pipefail
program='
import errno, os, sys, tempfile
folder = tempfile.mkdtemp(dir=sys.argv[1])
opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
os.rmdir(folder)
def seen(flags, *name):
    path = os.path.join(f"/proc/self/fd/{opened}", *name)
    try:
        os.close(os.open(path, flags | os.O_WRONLY, 0o600))
        return "a file"
    except OSError as error:
        return errno.errorcode[error.errno]
print("O_CREAT", seen(os.O_CREAT | os.O_EXCL, "name"), "O_TMPFILE", seen(os.O_TMPFILE))
'
ext4=$(mktemp -d)
tmpfs=$(mktemp -d /dev/shm/finding.XXXXXX)
trap 'rm -rf "$ext4" "$tmpfs"' EXIT
[ "$(stat -f -c %T "$ext4")" = ext2/ext3 ] && [ "$(stat -f -c %T "$tmpfs")" = tmpfs ] || exit 2
on_ext4=$(python3 -c "$program" "$ext4")
on_tmpfs=$(python3 -c "$program" "$tmpfs")
echo "Linux $(uname -r)"
echo "ext4:  $on_ext4"
echo "tmpfs: $on_tmpfs"
[ "$on_ext4" = "O_CREAT ENOENT O_TMPFILE EPERM" ]
[ "$on_tmpfs" = "O_CREAT ENOENT O_TMPFILE a file" ]
