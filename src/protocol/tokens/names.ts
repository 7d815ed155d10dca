/** What tokens, and what is said of them, have in common. */
import { Type } from "@sinclair/typebox";

export const MAX_USER_LENGTH = 64;
/** The last moment that a calendar knows. */
export const LAST_MS = 8.64e15;

/** The name of a user, as it stands on a bill. */
export const UserName = Type.String({
  minLength: 1,
  maxLength: MAX_USER_LENGTH,
  pattern: "^[A-Za-z0-9][A-Za-z0-9._@+-]*$",
});

/** Distinguishes the tokens of a cluster. */
export const TokenId = Type.String({ minLength: 1, maxLength: 64 });

/** A moment, for people. */
export function isoTime(ms: number): string {
  const utc = new Intl.DateTimeFormat("sv-SE", {
    timeZone: "UTC",
    dateStyle: "short",
    timeStyle: "medium",
  });
  return `${utc.format(ms)} UTC`;
}
