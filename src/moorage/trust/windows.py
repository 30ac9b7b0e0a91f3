"""The same for Windows: blocks of PowerShell, one script block each, so that an error ends nothing but it."""

from __future__ import annotations

from moorage.trust.place import Place

_ASKED = r"""$ErrorActionPreference = 'Stop'
$FINGERPRINT=''
if (-not $FINGERPRINT) { $FINGERPRINT = Read-Host 'SHA-256 fingerprint, from the terminal of the server' }
$Plain = ($FINGERPRINT -replace '(?i)sha-?256[^:=]*[:=]', '' -replace ':', '').ToUpper()
$Want = @($Plain -split '[\s,]+' | Where-Object { $_ })
if ($Want.Count -eq 0 -or ($Want -notmatch '^[0-9A-F]{64}$')) {
  throw 'FINGERPRINT is no SHA-256 fingerprint. Nothing was changed.'
}
$Sha = [Security.Cryptography.SHA256]::Create()
"""
_STORE = """$Store = New-Object Security.Cryptography.X509Certificates.X509Store 'Root', 'LocalMachine'
$Store.Open('ReadWrite')
"""


def add_root(place: Place) -> str:
    """Adds what the fingerprints confirm to the machine's trusted roots."""
    return f"""& {{
{_ASKED}$Served = [IO.Path]::GetTempFileName()
curl.exe -fsSk --max-time 30 --max-filesize 65536 -o $Served '{place.url}/ca.crt'
if ($LASTEXITCODE -ne 0) {{ throw 'The certificate could not be fetched. Nothing was changed.' }}
$Text = [IO.File]::ReadAllText($Served)
Remove-Item $Served
$Found = @{{}}
foreach ($One in [regex]::Matches($Text, '-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\\s]+)-----END CERTIFICATE-----')) {{
  $Der = [Convert]::FromBase64String(($One.Groups[1].Value -replace '\\s', ''))
  $Found[([BitConverter]::ToString($Sha.ComputeHash($Der)) -replace '-', '')] = $Der
}}
foreach ($Sum in $Want) {{
  if (-not $Found.ContainsKey($Sum)) {{ throw 'What was served has ANOTHER FINGERPRINT. Nothing was changed.' }}
}}
{_STORE}foreach ($Sum in $Want) {{
  $Store.Add((New-Object Security.Cryptography.X509Certificates.X509Certificate2 (,[byte[]]$Found[$Sum])))
}}
$Store.Close()
}}"""


def remove_root() -> str:
    """Removes what has the fingerprints."""
    return f"""& {{
{_ASKED}{_STORE}foreach ($One in @($Store.Certificates)) {{
  $Sum = [BitConverter]::ToString($Sha.ComputeHash($One.RawData)) -replace '-', ''
  if ($Want -contains $Sum) {{ $Store.Remove($One) }}
}}
$Store.Close()
}}"""
