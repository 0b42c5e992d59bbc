"""Whether a decoder filled the whole image from sound data, for decoders that do not say so themselves."""
