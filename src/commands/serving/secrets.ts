/** Secrets that a node is given: it keeps them, and no process of its user finds them in what the system shows of it. */
import { forgetSecret, hideProcess } from "../../../ffi/system.ts";

/** A shorter one could be a part of another word. */
const MIN_SECRET_CHARACTERS = 8;

export interface NodeSecrets {
  token: string | null;
  joinToken: string | undefined;
}

/** Takes the node's secrets out of its environment and its arguments. From then on other processes cannot read its memory, either. */
export function keepSecrets(joinToken: string | undefined): NodeSecrets {
  hideProcess();
  const token = process.env["RFAAS_TOKEN"] || null;
  for (const name of ["RFAAS_TOKEN", "RFAAS_JOIN_TOKEN"]) delete process.env[name];
  for (const secret of [token, joinToken])
    if (secret && secret.length >= MIN_SECRET_CHARACTERS) forgetSecret(secret);
  return { token, joinToken };
}
