/**
 * The key and certificate that a server makes for itself at its first start: one file in PEM, which is there as a whole or not at all, so
 * that servers that start at once use the same.
 */
import { existsSync, mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { EnvironmentError } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";
import type { CredentialFiles } from "./credentials.ts";
import { publishOnce } from "./files.ts";
import { nodeUri } from "./judge.ts";

const TEN_YEARS_MS = 10 * 365 * 24 * 60 * 60 * 1000;

/** Makes what is not there in the folder. Throws {@link EnvironmentError}. */
export async function ownCertificate(folder: string): Promise<CredentialFiles> {
  const path = join(folder, "node-tls.pem");
  try {
    if (!existsSync(path)) await make(folder, path);
  } catch (error) {
    const cause = error instanceof EnvironmentError ? error.cause : error;
    throw new EnvironmentError(
      `the node's key and certificate cannot be kept in ${folder}: ${reasonOf(cause)}; name another folder with --state, or your own files with --tls-cert and --tls-key`,
      { cause },
    );
  }
  return { certificate: path, key: path };
}

async function make(folder: string, path: string): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { selfSigned } = await import("./certificates.ts");
  const name = hostname();
  const made = await selfSigned({ commonName: name, uri: nodeUri(name), validMs: TEN_YEARS_MS });
  publishOnce(path, `${made.key}\n${made.chain}\n`, 0o600);
}
