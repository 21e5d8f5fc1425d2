//! Step 4: a person opens the gate, on each of the three surfaces. Written when the surfaces are there.
