/** Where a node is: a Unix socket path or a TCP host and port. */
import { join } from "node:path";
import { UsageError } from "./errors.ts";

export type Address = { kind: "unix"; path: string } | { kind: "tcp"; host: string; port: number };

/** Where `rfaas serve` listens, and `--node` looks, when nothing else is said. */
export function defaultAddress(): Address {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  const folder = runtime
    ? join(runtime, "rfaas")
    : join("/tmp", `rfaas-${process.getuid?.() ?? 0}`);
  return { kind: "unix", path: join(folder, "node.sock") };
}

/** Reads `PATH`, `HOST:PORT` or `[IPV6]:PORT`; anything with a slash is a path. Throws {@link UsageError}. */
export function parseAddress(text: string): Address {
  if (text.includes("/") || text.endsWith(".sock")) return { kind: "unix", path: text };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65535)
    throw new UsageError(
      `"${text}" is no address; give a socket path (/run/rfaas.sock) or HOST:PORT`,
    );
  return { kind: "tcp", host: match[1] ?? match[2]!, port };
}

export function formatAddress(address: Address): string {
  if (address.kind === "unix") return address.path;
  return address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}
