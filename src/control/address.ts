/** Where a node or a manager is: a Unix socket path or a TCP host and port. The one reader of addresses. */
import { isIPv4, isIPv6 } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { domainToASCII } from "node:url";
import { UsageError } from "../base/errors.ts";
import { type Pin, readFingerprint } from "../trust/fingerprint.ts";

export type Address = { kind: "unix"; path: string } | TcpAddress;

export interface TcpAddress {
  kind: "tcp";
  host: string;
  port: number;
  /** It is written `rfaas://`: TLS whatever the host, and whom to trust there. */
  secure?: { pin?: Pin };
}

/** An address that other machines may reach. */
export type NetworkAddress = TcpAddress;

/** What the kernel takes as the path of a socket, in bytes. */
export const MAX_SOCKET_PATH_BYTES = 107;
const MAX_HOST_LENGTH = 253;
const SCHEME = "rfaas://";
/** Characters that a terminal does not show. */
const UNSEEN = /[\p{Cc}\p{Cf}]/u;
const HOST_NAME = /^[A-Za-z0-9_](?:[\w-]*\w)?(?:\.\w(?:[\w-]*\w)?)*\.?$/;
const IN_ASCII = /^[\x21-\x7e]+$/;
/** A name outside ASCII: of other characters in it, what makes the name would take what follows for a path, and drop it. */
const FOR_DNS = /^[\w.\u{80}-\u{10ffff}-]+$/u;

/** Where `rfaas serve` listens, and `--node` looks, when nothing else is said. */
export function defaultAddress(): Address {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  const folder = runtime
    ? join(runtime, "rfaas")
    : join("/tmp", `rfaas-${process.getuid?.() ?? 0}`);
  return { kind: "unix", path: join(folder, "node.sock") };
}

/**
 * Reads an address:
 *
 * - a socket path, at most 107 bytes long: a text that has a slash or ends with `.sock`, also as `unix:PATH`;
 * - `HOST:PORT`; a name outside ASCII becomes what DNS has in its place;
 * - `[IPV6]:PORT`, with a scope `[fe80::1%eth0]:PORT`; without brackets where the text can be read in one way only;
 * - `rfaas://HOST:PORT`, which is always TLS, with `?ca=sha256:HEX` or `?key=sha256:HEX` where it says whom to trust.
 *
 * @throws {UsageError} on anything else; it quotes the text and says what is wrong with it
 */
export function parseAddress(text: string): Address {
  const read = readAddress(text);
  if (typeof read !== "string") return read;
  const quoted = UNSEEN.test(text) ? JSON.stringify(text) : `"${text}"`;
  throw new UsageError(
    `${quoted} is no address: ${read}; give a socket path (/run/rfaas.sock), HOST:PORT or rfaas://HOST:PORT`,
  );
}

/** As {@link parseAddress} reads it; IPv6 in brackets. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return address.path;
  const { secure } = address;
  if (!secure) return placeOf(address);
  const pin = secure.pin ? `?${secure.pin.of}=${secure.pin.fingerprint}` : "";
  return `${SCHEME}${placeOf(address)}${pin}`;
}

/** The `HOST:PORT` of it. */
export function placeOf({ host, port }: TcpAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether the host is this machine by its very name: what goes there does not leave it. */
export function isLoopback(host: string): boolean {
  const plain = host.toLowerCase().replace(/^::ffff:(?=\d+\.)/, "");
  return plain === "localhost" || plain === "::1" || (isIPv4(plain) && plain.startsWith("127."));
}

/** Whether it stands for every address of a machine: such a one can be listened at, and leads to no machine. */
export function isEverywhere(address: Address): boolean {
  return address.kind === "tcp" && ["0.0.0.0", "::"].includes(address.host);
}

/** By which address others find what listens at this one: every address of this machine is called by its name. */
export function foundAt(listening: Address): string {
  if (!isEverywhere(listening)) return formatAddress(listening);
  return `${hostname()}:${(listening as { port: number }).port}`;
}

/** The address, or what is wrong with the text. */
function readAddress(text: string): Address | string {
  if (text === "") return "it is empty";
  // It comes from a shell, an editor or a file, and is never meant.
  if (UNSEEN.test(text) || text !== text.trim())
    return "there is a space around it or a control character in it";
  if (text.slice(0, SCHEME.length).toLowerCase() === SCHEME) return readSecure(text);
  if (text.startsWith("unix://") && !text.startsWith("unix:///"))
    return "after unix:// comes a path from the root";
  if (text.startsWith("unix:")) {
    const path = text.replace(/^unix:(\/\/)?/, "");
    // Written so that it is read as a path without the scheme, too.
    const isPlain = /\/|\.sock$/.test(path) && path === path.trimStart();
    return readPath(isPlain ? path : `./${path}`);
  }
  if (/^[^/?]+:\d+\/?\?/.test(text))
    return `what follows ? is for ${SCHEME}; write ${SCHEME}${text}`;
  const isPath = text.includes("/") || text.endsWith(".sock") || text.startsWith("@");
  // A path could begin like this, but it is nearly always a scheme.
  const [, scheme, rest] = /^([^\\/]*?:)(.*)$/s.exec(text) ?? [];
  if (scheme !== undefined && (isPath || rest!.startsWith("\\")))
    return `nothing is reached by "${scheme}" here`;
  return isPath ? readPath(text) : readHostAndPort(text);
}

function readSecure(text: string): Address | string {
  const [place = "", ...queries] = text.slice(SCHEME.length).split("?");
  const read = readHostAndPort(place.replace(/\/$/, ""));
  if (typeof read === "string" || queries.length === 0) return withSecurity(read, {});
  const [name = "", ...values] = queries.join("?").split("=");
  if (name !== "ca" && name !== "key")
    return "after its port can only come ?ca=sha256:HEX or ?key=sha256:HEX";
  const fingerprint = readFingerprint(values.join("="));
  return fingerprint === undefined
    ? `what follows ${name}= is no fingerprint: sha256: and 64 hexadecimal digits`
    : withSecurity(read, { pin: { of: name, fingerprint } });
}

const withSecurity = (
  read: TcpAddress | string,
  secure: NonNullable<TcpAddress["secure"]>,
): Address | string => (typeof read === "string" ? read : { ...read, secure });

function readPath(path: string): Address | string {
  const name = path.split("/").at(-1)!;
  if (name === "" || name === "." || name === "..") return "it names no file";
  if (/^[^/]*:/.test(path))
    return "what is before its colon looks like a scheme; begin the path with ./";
  if (path.startsWith("@"))
    return "a socket without a file has no owner, so rfaas uses none; name a path";
  if (path.startsWith("~"))
    return "the shell has left the ~ as it is; write the folder's name, or $HOME";
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES)
    return `the path has ${bytes} bytes and a socket's has at most ${MAX_SOCKET_PATH_BYTES}`;
  return { kind: "unix", path };
}

function readHostAndPort(text: string): TcpAddress | string {
  const [, bracketed, plain = "", digits] = /^(?:\[(.*)\]|(.*)):([^:\]]*)$/s.exec(text) ?? [];
  if (digits === undefined) return "it has no port";
  const port = Number(digits);
  if (!/^\d{1,5}$/.test(digits) || port > 65535)
    return `"${digits}" is no port: a whole number up to 65535`;
  const host = bracketed === undefined ? readPlainHost(plain, text) : readBracketed(bracketed);
  return "wrong" in host ? host.wrong : { kind: "tcp", host: host.host, port };
}

type Host = { host: string } | { wrong: string };

function readBracketed(inside: string): Host {
  return isScoped(inside) ? { host: inside } : { wrong: `"${inside}" is no IPv6 address` };
}

function readPlainHost(host: string, text: string): Host {
  if (host === "")
    return { wrong: "it has no host; 0.0.0.0 or [::] stand for all of this machine" };
  if (host.includes(":")) {
    if (!isScoped(host)) return { wrong: `"${host}" is no host` };
    return isIPv6(text) && !host.includes("%")
      ? { wrong: "where the port begins cannot be told; put the IPv6 address in brackets" }
      : { host };
  }
  if (/^[\d.]+$/.test(host))
    return isIPv4(host) ? { host } : { wrong: `"${host}" is no IPv4 address` };
  const ascii = IN_ASCII.test(host) ? host : FOR_DNS.test(host) ? domainToASCII(host) : "";
  // What it became would be read as a scheme.
  const isScheme = ascii !== host && ascii === "unix";
  return !isScheme && ascii.length <= MAX_HOST_LENGTH && HOST_NAME.test(ascii)
    ? { host: ascii }
    : { wrong: `"${host}" is no host's name` };
}

/** An IPv6 address, with or without the interface that a link-local one needs. */
function isScoped(address: string): boolean {
  const [plain = "", scope = "lo", ...more] = address.split("%");
  return isIPv6(plain) && /^[A-Za-z0-9_.-]{1,15}$/.test(scope) && more.length === 0;
}
