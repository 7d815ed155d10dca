/** How a lease is named where others may listen, by those that know its secret. */

const LABEL = "rfaas: id of a lease";
const BYTES = 16;

/** Tells nothing of the secret. The shim makes the same (`rfaas_tls_identify`). */
export const publicNameOf = (secret: Uint8Array): Uint8Array =>
  new Bun.CryptoHasher("sha256").update(LABEL).update(secret).digest().subarray(0, BYTES);
