//! Templates, styles and the CSP constant shared by doors and api.
