/** Secrets that a node or a manager has: it keeps them, and no process of its user finds them in what the system shows of it. */
import { forgetSecret, hideProcess } from "../../../ffi/system.ts";

/** A shorter one could be a part of another word. */
const MIN_SECRET_CHARACTERS = 8;

export interface NodeSecrets {
  token: string | null;
  joinToken: string | undefined;
  registryPassword: string | undefined;
}

/** Takes secrets out of the environment and the arguments, where `others` may be. From then on other processes cannot read the memory, either. */
export function keepSecrets(joinToken?: string, ...others: string[]): NodeSecrets {
  hideProcess();
  const token = process.env["RFAAS_TOKEN"] || null;
  const registryPassword = process.env["RFAAS_REGISTRY_PASSWORD"] || undefined;
  for (const name of ["RFAAS_TOKEN", "RFAAS_JOIN_TOKEN", "RFAAS_REGISTRY_PASSWORD"])
    delete process.env[name];
  for (const secret of [token, joinToken, ...others])
    if (secret && secret.length >= MIN_SECRET_CHARACTERS) forgetSecret(secret);
  return { token, joinToken, registryPassword };
}
