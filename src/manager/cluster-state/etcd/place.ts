/** Where an etcd is, and as whom it is asked: `etcd://[USER[:PASSWORD]@]HOST:PORT[,HOST:PORT..][/PREFIX]`. */
import { readFileSync } from "node:fs";
import { EnvironmentError, UsageError } from "../../../base/errors.ts";
import { reasonOf } from "../../../base/system-errors.ts";
import { isLoopback, parseAddress, placeOf } from "../../../control/address.ts";
import { readSecret } from "../../../trust/files.ts";

/** The flags beside the URL. */
export interface EtcdOptions {
  /** PEM files: whom to trust there, and what to show. With any of them, it is TLS. */
  registryCa?: string | undefined;
  registryCert?: string | undefined;
  registryKey?: string | undefined;
  /** A file with the password, for its owner alone. */
  registryPasswordFile?: string | undefined;
  /** The password, where the environment has it. */
  registryPassword?: string | undefined;
}

export interface EtcdPlace {
  /** `https://HOST:PORT`, one a member. */
  endpoints: readonly string[];
  /** Of all keys, without a slash at its end. */
  prefix: string;
  user: { name: string; password: string } | undefined;
  tls: { ca?: string; cert?: string; key?: string } | undefined;
}

export const DEFAULT_PREFIX = "/rfaas";
const FORM = "etcd://[USER@]HOST:PORT[,HOST:PORT][/PREFIX]";

/** Throws {@link UsageError}, and {@link EnvironmentError} for a file that cannot be read. */
export function readPlace(url: string, options: EtcdOptions): EtcdPlace {
  const match = /^etcd:\/\/(?:([^@/]*)@)?([^/]+)(\/.*)?$/.exec(url);
  if (!match) throw new UsageError(`--registry must be ${FORM}; correct it`);
  const [, given, hosts = "", path = ""] = match;
  const tls = tlsOf(options);
  const user = given === undefined ? undefined : userOf(given, options);
  const endpoints = hosts.split(",").map((text) => endpointOf(text, tls !== undefined));
  const exposed = endpoints.find((one) => one.startsWith("http:") && !isHere(one));
  if (user && exposed !== undefined)
    throw new UsageError(
      `the password for etcd would go to ${exposed} in clear; give --registry-ca FILE for TLS`,
    );
  const prefix = path.replace(/\/+$/, "") || DEFAULT_PREFIX;
  return { endpoints, prefix, user, tls };
}

function endpointOf(text: string, isTls: boolean): string {
  const address = parseAddress(text);
  if (address.kind === "unix" || address.secure)
    throw new UsageError(`etcd is at HOST:PORT and not at ${text}; correct --registry`);
  return `${isTls ? "https" : "http"}://${placeOf(address)}`;
}

const isHere = (endpoint: string): boolean =>
  isLoopback(new URL(endpoint).hostname.replace(/^\[|\]$/g, ""));

function userOf(given: string, options: EtcdOptions): { name: string; password: string } {
  const [name = "", ...rest] = given.split(":").map(decodeURIComponent);
  const { registryPasswordFile: file, registryPassword } = options;
  const password =
    file === undefined
      ? rest.length > 0
        ? rest.join(":")
        : registryPassword
      : readSecret(file).trim();
  if (password !== undefined) return { name, password };
  throw new UsageError(
    `etcd's user ${name} has no password; give --registry-password-file FILE, or set RFAAS_REGISTRY_PASSWORD`,
  );
}

function tlsOf({ registryCa, registryCert, registryKey }: EtcdOptions): EtcdPlace["tls"] {
  if ((registryCert === undefined) !== (registryKey === undefined))
    throw new UsageError("--registry-cert and --registry-key belong together; give both");
  if (registryCa === undefined && registryCert === undefined) return undefined;
  return {
    ...(registryCa === undefined ? {} : { ca: readText(registryCa) }),
    ...(registryCert === undefined ? {} : { cert: readText(registryCert) }),
    ...(registryKey === undefined ? {} : { key: readSecret(registryKey) }),
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new EnvironmentError(`${path} cannot be read: ${reasonOf(cause)}; name a readable file`, {
      cause,
    });
  }
}
