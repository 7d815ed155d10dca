/** What all errors of rfaas have in common. */
import { EXIT } from "./exit-codes.ts";
import { announce } from "./watch.ts";

/** The base of all errors that rfaas itself raises. */
export abstract class RfaasError extends Error {
  abstract readonly code: string | number;
  constructor(message?: string, options?: ErrorOptions) {
    super(message, options);
    announce(this);
  }
  /** The index of the input that made a `map` end with this error, from 0. */
  declare index?: number;
  /** How a command that ends with this error exits. */
  get exitCode(): number {
    return EXIT.failed;
  }
}
