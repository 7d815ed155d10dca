import { createHash, generateKeyPairSync, createPrivateKey, sign } from "node:crypto";
import { EnvironmentError, TokenRefused } from "../../../src/base/errors.ts";
import { Credential, NewHolder, isBound } from "../../../src/protocol/holder/credential.ts";
import { type Occasion, checkProof, signProof } from "../../../src/protocol/holder/proof.ts";
import { formatJoinToken, readJoinToken } from "../../../src/protocol/joining/join-token.ts";
import { publicKeyText, readPublicKey, readPublicKeys } from "../../../src/protocol/token-key.ts";
import { SCOPES, TokenSigner, TokenVerifier, readClaims } from "../../../src/protocol/token.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same, textOf } from "./outcome.ts";

/** The same key each time, so that an input that was found is one the next time. */
const seed = createHash("sha256").update("key").digest();
const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
const cluster = "test";
const signer = new TokenSigner({ cluster, key });
const NOW = 1e12;
const own = readPublicKey(publicKeyText({ cluster, key }), "it");
const present = { cluster, key: generateKeyPairSync("ed25519").publicKey };
/** By the present key, and by one that was replaced and counts still, or no more. */
const verifiers = [
  new TokenVerifier(own),
  ...[2 * NOW, NOW / 2].map((untilMs) => new TokenVerifier(present, { ...own, untilMs })),
];
const holder = new NewHolder();
const claims = {
  ...{ id: "1", user: "ada", maxCores: null, expiresAtMs: null, scopes: ["client" as const] },
  issuedAtMs: 0,
};
const token = await signer.sign(claims);
const bound = await signer.sign({ ...claims, holderKey: holder.holderKey });
const full = await signer.sign({
  ...{ ...claims, maxCores: 5, maxMemoryBytes: 5, node: "n:1", project: "p", expiresAtMs: 5e11 },
  ...{ scopes: ["read", "node"], maxLeases: 5, coreHours: { hours: 5, period: "day" } },
});
const lasting = await signer.sign({ ...claims, expiresAtMs: 3 * NOW });
const occasion: Occasion = { nonce: "nonce", places: ["h:1"], key: null };
const proof = await signProof(key, { token, cluster }, occasion);
const jwk = key.export({ format: "jwk" });
const holderKey = { kty: "OKP" as const, crv: "Ed25519" as const, x: jwk.x! };

/** What the one who asked may have expected. */
const expectations = [
  occasion,
  { ...occasion, places: ["elsewhere"] },
  { ...occasion, key: "k" },
  { ...occasion, key: "k", sharesKey: true, places: ["elsewhere"] },
  { ...occasion, request: "GET /" },
];
const withKey = { ...occasion, key: "k" };
const proofs = [
  proof,
  await signProof(key, { token, cluster }, { ...withKey, places: ["elsewhere"] }),
  await signProof(key, { token, cluster }, { ...occasion, request: "GET /" }),
];

/** Parts of a JWS as they are before they are encoded, lines each: those alone could be changed without a signature that is wrong. */
const plain = (jws: string): string =>
  jws
    .split(".")
    .slice(0, 2)
    .map((part) => Buffer.from(part, "base64url").toString())
    .join("\n");

function signed(text: string): string {
  const [header = "", payload = ""] = text.split("\n");
  const said = [header, payload].map((part) => Buffer.from(part).toString("base64url")).join(".");
  return `${said}.${sign(null, Buffer.from(said), key).toString("base64url")}`;
}

const other = generateKeyPairSync("x25519").publicKey.export({ type: "spki", format: "pem" });

/** The first byte says what the rest is: the text of a token, or what is to be signed as a token or as a proof. */
export const subject: Subject = {
  seeds: [
    ...[
      token,
      bound,
      holder.with(bound),
      `rfaas1.${token}`,
      `${token}.x`,
      "a.b.c",
      `${token}x`,
    ].map((text) => Uint8Array.from([0, ...bytesOf(text)])),
    Uint8Array.from([0, ...bytesOf(formatJoinToken(cluster, new Uint8Array(16)))]),
    ...[
      publicKeyText({ cluster, key }),
      publicKeyText({ cluster: " ", key }),
      publicKeyText({ cluster, key }, { cluster, key: present.key, untilMs: 5 }),
      publicKeyText({ cluster, key }, { cluster, key: present.key }),
      `Cluster: x\n${String(other)}`,
    ].map((text) => Uint8Array.from([3, ...bytesOf(text)])),
    ...[token, bound, full, lasting].map((text) => Uint8Array.from([1, ...bytesOf(plain(text))])),
    Uint8Array.from([1, ...bytesOf(plain(token).replace("rfaas+jwt", "rfaas-bound+jwt"))]),
    Uint8Array.from([1, ...bytesOf(plain(token).replace('"client"', '"read read"'))]),
    Uint8Array.from([0, ...bytesOf("x".repeat(2100))]),
    Uint8Array.from([2, ...bytesOf("x".repeat(3000))]),
    ...proofs.map((text) => Uint8Array.from([2, ...bytesOf(plain(text))])),
  ],
  tokens: [...SCOPES, "client client", "1e400", '"exp":0', '"nbf":0', "\\u0000", ".", "{}", "null"],
  maxBytes: 3200,
  async run(input) {
    if (input.length === 0) return;
    const mode = input[0]! & 3;
    const text = textOf(input.subarray(1));
    if (mode === 3) {
      const read = outcome(() => readPublicKeys(text, "it"), EnvironmentError);
      if (!read) return;
      const said = (keys: typeof read) => keys.map(({ cluster: of, untilMs }) => [of, untilMs]);
      same(said(readPublicKeys(publicKeyText(...read), "it")), said(read), "other keys");
      return;
    }
    if (mode === 2) {
      // One who holds the key may sign anything.
      const shown = { token, cluster, holderKey };
      for (const expected of expectations) await refused(checkProof(signed(text), shown, expected));
      return;
    }
    const said = mode === 1 ? signed(text) : text;
    outcome(() => readJoinToken(said), TokenRefused);
    const credential = outcome(() => Credential.of(said), TokenRefused);
    if (credential?.isBound) await credential.prove(occasion);
    const read = outcome(() => readClaims(said), TokenRefused);
    must(isBound(said) === (read?.holderKey !== undefined), "is bound otherwise");
    if (!read) return;
    for (const verifier of verifiers)
      for (const scope of [undefined, "client", "bill"] as const)
        await refused(verifier.verify(said, NOW, scope));
    const again = await signer.sign(read);
    const { keyId: _, cluster: __, ...same1 } = readClaims(again);
    const { keyId: ___, cluster: ____, ...same2 } = read;
    same(same1, same2, "says something else when it is signed again");
  },
};

const refused = (checking: Promise<unknown>): Promise<unknown> =>
  checking.catch((error: unknown) => {
    if (!(error instanceof TokenRefused)) throw error;
    must(!error.message.includes(token), "the error quotes the token");
  });
