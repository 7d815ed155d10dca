/**
 * How packages come to a node, and what it is asked of those it has. An upload: the offer names the package, its reply the files
 * that the node lacks, and chunks of them follow, each acknowledged. The reply that says `stored` is the last one; a failure ends
 * the upload.
 */
import { type Static, Type } from "@sinclair/typebox";
import { notice, request } from "./declare.ts";
import { count, index, text } from "./fields.ts";

const hash = Type.String({ pattern: "^[0-9a-f]{64}$" });
const size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** A client has this package for the node: its manifest in canonical form. The client numbers its uploads. */
export const OfferPackage = request(
  "offer-package",
  { upload: count, hash, manifest: Type.Uint8Array({ maxByteLength: 3 * 1024 * 1024 }) },
  {
    /** Indices of the manifest's files whose contents the node does not have. */
    files: Type.Array(index, { maxItems: 20_000 }),
    stored: Type.Boolean(),
  },
);
/** The next bytes of what the node lacks, file after file in the order in which it has named them. */
export const PackageChunk = request(
  "package-chunk",
  { upload: count, bytes: Type.Uint8Array({ minByteLength: 1, maxByteLength: 1024 * 1024 }) },
  {
    /** So many bytes of the upload are written. */
    storedBytes: size,
    stored: Type.Boolean(),
  },
);
/** The client abandons an upload. */
export const DropOffer = notice("drop-offer", { upload: count });

/** A package in a node's cache. */
export const StoredPackage = Type.Object({
  hash,
  name: text,
  bytes: size,
  usedAtMs: Type.Number(),
  /** How many leases of this node use it. */
  leases: index,
});
export type StoredPackage = Static<typeof StoredPackage>;

export const ListPackages = request("list-packages", {}, { packages: Type.Array(StoredPackage) });
export const RemovePackage = request("remove-package", { hash }, {});

/** What a client says to a node of packages. */
export const packageMessages = [
  OfferPackage,
  PackageChunk,
  DropOffer,
  ListPackages,
  RemovePackage,
] as const;
