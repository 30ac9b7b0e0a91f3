"""The shell lines that all clients' steps are made of.

A block is one here-document for `sh`, so it does the same whether it is pasted into bash, zsh or dash, and ending
early does not end the user's own shell. It has no comments and no `!` before a word, at which interactive shells
stumble. The fingerprint is the user's to paste: a block never holds it, and fetches nothing that it believes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from moorage.trust.content import KEPT, MARK, mark
from moorage.trust.place import Place

PASTE_HERE = "FINGERPRINT=''"
"""The line of a block that takes the fingerprint; left as it is, the block asks for it on the terminal."""

_LINUX = (
    "sha256sum",
    """{ grep -v '^-----' "$one" | base64 -d > "$new/der"; }""",
    """{ echo '-----BEGIN CERTIFICATE-----'; base64 -w 64 "$new/der"; echo '-----END CERTIFICATE-----'; }""",
)
_MACOS = (
    "shasum -a 256",
    """openssl x509 -in "$one" -outform der -out "$new/der\"""",
    """openssl x509 -inform der -in "$new/der\"""",
)
AS_ROOT = """if [ "$(id -u)" = 0 ]; then root=; else root=sudo; fi"""


def quote(text: str) -> str:
    """*text* in single quotes, also where the shell would not need them."""
    return text if text.startswith('"') else shlex.quote(text) if "'" in text else f"'{text}'"


def block(*parts: str) -> str:
    """The parts as one here-document."""
    return "\n".join(("sh <<'END'", "set -eu", *parts, "END"))


def asked_fingerprint() -> str:
    """Lines that leave the user's fingerprints in `$want`, in small letters and without colons, or refuse them."""
    return f"""{PASTE_HERE}
if [ -z "$FINGERPRINT" ]; then
  {{
    printf 'SHA-256 fingerprint, from the terminal of the server: ' >/dev/tty
    read -r FINGERPRINT </dev/tty
  }} 2>/dev/null || true
fi
want=$(printf '%s' "$FINGERPRINT" | sed 's/[Ss][Hh][Aa]-*256[^:=]*[:=]//g; s/://g' | tr 'A-F,' 'a-f ')
if printf '%s' "$want" | grep -Eqx ' *[0-9a-f]{{64}}( +[0-9a-f]{{64}})* *'; then :; else
  echo 'FINGERPRINT is no SHA-256 fingerprint. Nothing was changed.' >&2
  exit 1
fi"""


def confirmed_ca(place: Place, *, macos: bool = False) -> str:
    """Lines that leave what the user's fingerprints confirm in `$new`, or end with nothing changed.

    `$new/ca.crt` is the file of `content.bundle`, and `$new/<fingerprint>.confirmed` each certificate by itself. Both
    are written anew from the bytes that were hashed: what else the server sent between them gets nowhere.
    """
    digest, decode, encode = _MACOS if macos else _LINUX
    return f"""{asked_fingerprint()}
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
curl -fsSk --max-time 30 --max-filesize 65536 -o "$new/served" {quote(place.url + "/ca.crt")}
awk -v to="$new/" '/^-----BEGIN CERTIFICATE-----/ {{ n++; on = 1 }}
  on {{ print > (to n ".pem") }}
  /^-----END/ {{ on = 0 }}' "$new/served"
echo {quote(mark(place))} > "$new/ca.crt"
for sum in $want; do
  for one in "$new"/*.pem; do
    : > "$new/der"
    {decode} 2>/dev/null || true
    if [ "$({digest} < "$new/der" | cut -c 1-64)" = "$sum" ]; then
      {encode} > "$new/$sum.confirmed"
    fi
  done
  if [ -e "$new/$sum.confirmed" ]; then cat "$new/$sum.confirmed" >> "$new/ca.crt"; else
    echo 'What was served has ANOTHER FINGERPRINT. Nothing was changed.' >&2
    exit 1
  fi
done"""


def put(source: str, to: str, *, as_root: bool = True) -> str:
    """Lines that put the file *source* at the path *to*, and keep a file that somebody else wrote there."""
    return f"""to={quote(to)}
{AS_ROOT if as_root else "root="}
if [ -e "$to" ] && [ -z "$(head -n 1 "$to" | grep '^{MARK}')" ]; then
  if [ -e "$to{KEPT}" ]; then
    echo "Neither $to nor $to{KEPT} is ours. Move one away." >&2
    exit 1
  fi
  $root mv "$to" "$to{KEPT}"
fi
$root install -d -m 755 "$(dirname "$to")"
$root install -m 644 {source} "$to"
echo "Written: $to\""""


def put_lines(lines: Sequence[str], to: str, advice: str) -> str:
    """Lines that write *lines* to the path *to*, or give *advice* where a file is that lacks the last of them.

    They end the block, and come after `put`, which says whether root is needed.
    """
    return f"""to={quote(to)}
lines=$(printf '%s\\n' {_words(lines)})
if grep -qsF {quote(lines[-1].strip())} "$to"; then
  echo "Unchanged: $to"
  exit 0
fi
if [ -e "$to" ]; then
  echo "$to is not ours and stays as it is. Add to it yourself:" >&2
  printf '%s\\n' {advice} >&2
  exit 1
fi
printf '%s\\n' "$lines" > "$new/lines"
$root install -d -m 755 "$(dirname "$to")"
$root install -m 644 "$new/lines" "$to"
echo "Written: $to\""""


def take_away_lines(lines: Sequence[str], to: str) -> str:
    """Lines that remove what `put_lines` wrote, if nobody has changed it; `take_away` comes after."""
    return f"""{AS_ROOT}
to={quote(to)}
if [ -e "$to" ] && [ "$(cat "$to")" = "$(printf '%s\\n' {_words(lines)})" ]; then
  $root rm "$to"
  echo "Removed: $to"
elif grep -qsF {quote(lines[-1].strip())} "$to"; then
  echo "$to was changed and stays. Take out of it yourself:" {quote(lines[-1])} >&2
fi"""


def take_away(*paths: str, as_root: bool = True, folder: bool = True) -> str:
    """Lines that remove our files and put back what was there; *folder*: and the folder, if it is empty then."""
    words = " ".join(quote(path) for path in paths)
    lines = f"""{AS_ROOT if as_root else "root="}
for to in {words}; do
  if [ -e "$to" ] && head -n 1 "$to" | grep -q '^{MARK}'; then
    $root rm "$to"
    echo "Removed: $to"
  fi
  if [ -e "$to{KEPT}" ] && [ ! -e "$to" ]; then $root mv "$to{KEPT}" "$to"; fi
done"""
    return lines + ('\n$root rmdir "$(dirname "$to")" 2>/dev/null || true' if folder else "")


def _words(lines: Sequence[str]) -> str:
    return " ".join(quote(line) for line in lines)
