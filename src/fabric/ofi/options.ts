/** The options of libfabric, for programs and command lines. */
import { type Static, Type } from "@sinclair/typebox";
import { choice, perhaps, text } from "../../options/fields.ts";
import { HARDWARE, OTHERS } from "./providers.ts";

const NAMES = [...HARDWARE, ...OTHERS].map(({ name }) => name);

/** Which provider of libfabric to use on this side, and how. */
export const OfiOptions = Type.Object(
  {
    /** Such as `"cxi"`. Default: the best that client and node both have. */
    provider: perhaps(
      choice(NAMES, {
        description: "provider of libfabric",
        otherwise: "the best that both sides have",
        flag: true,
      }),
    ),
    /** Such as `"cxi0"`. Default: the provider's first. */
    domain: perhaps(
      text("the name of a domain of libfabric, such as cxi0", {
        description: "its domain",
        otherwise: "its first",
        flag: true,
        placeholder: "name",
      }),
    ),
    /** In hexadecimal digits, as the provider wants it. */
    authKey: perhaps(
      Type.String({
        pattern: "^([0-9a-fA-F]{2}){1,256}$",
        errorMessage: "must be an authentication key: pairs of hexadecimal digits",
        description: "authentication key of the provider, in hexadecimal digits",
        flag: true,
        placeholder: "hex",
      }),
    ),
  },
  {
    title: "libfabric",
    description: "which provider of libfabric to use on this side, and how",
    call: "invoker({ ofi: options })",
    errorMessage: 'must be an object such as { provider: "cxi" }',
  },
);
export type OfiOptions = Static<typeof OfiOptions>;
