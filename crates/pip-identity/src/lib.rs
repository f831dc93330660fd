//! People: directory, passkeys, invitations, recovery codes.
