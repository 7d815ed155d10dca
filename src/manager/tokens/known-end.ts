/** The manager's end of TLS connections, as proofs of those who connect name it. */
export interface KnownEnd {
  /** The fingerprint of the key that a connection is met with which comes now. */
  key(): string;
  /** Other servers have the key, too. */
  sharesKey: boolean;
  /** Addresses beside those that the kernel knows. */
  places: readonly string[];
}
