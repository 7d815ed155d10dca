/** Secrets that a node or a manager has: it keeps them, and no process of its user finds them in what the system shows of it. */
import { forgetSecret, hideProcess } from "../../../ffi/system.ts";

/** A shorter one could be a part of another word. */
const MIN_SECRET_CHARACTERS = 8;

export interface NodeSecrets {
  token: string | null;
  joinToken: string | undefined;
}

/** Takes secrets out of the environment and the arguments. From then on other processes cannot read the memory, either. */
export function keepSecrets(joinToken?: string): NodeSecrets {
  hideProcess();
  const token = process.env["RFAAS_TOKEN"] || null;
  for (const name of ["RFAAS_TOKEN", "RFAAS_JOIN_TOKEN"]) delete process.env[name];
  for (const secret of [token, joinToken])
    if (secret && secret.length >= MIN_SECRET_CHARACTERS) forgetSecret(secret);
  return { token, joinToken };
}
